//! The JSON body of a service-market request.
//!
//! Owns the wire names and the message id. The invariant: `data` is an object, with the product's
//! risk object in it even when that one is empty, and no optional field is sent empty.
//!
//! Source: WeChat "小程序风控 API", 请求参数 and 服务请求 data 数据说明.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::Product;
use crate::claim::Claim;

/// The service that both products belong to.
const SERVICE: &str = "wxd8a88093cf541a77";
/// The longest `client_msg_id`. WeChat documents none; its own samples have 32 characters.
const LONGEST_MESSAGE_ID: usize = 64;

/// The body of one attempt. `user_access_token` is the user's, which only mobile apps have.
pub(super) fn body(
    product: Product,
    claim: &Claim,
    attempt: u32,
    user_access_token: Option<&str>,
) -> String {
    let data = Data { product, claim, user_access_token };
    let client_msg_id = message_id(&claim.claim_id, attempt);
    let body = Body { service: SERVICE, api: product.api, data, client_msg_id };
    serde_json::to_string(&body).expect("a map of strings and numbers always serialises")
}

/// `{claim_id}-{attempt}`. A claim id that is too long, or has characters that an id should not
/// have, is cut and made unique by its hash.
pub(super) fn message_id(claim_id: &str, attempt: u32) -> String {
    let safe =
        |character: &char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    let suffix = format!("-{attempt}");
    if claim_id.len() + suffix.len() <= LONGEST_MESSAGE_ID
        && claim_id.chars().all(|character| safe(&character))
    {
        return format!("{claim_id}{suffix}");
    }
    let hash = hex::encode(&Sha256::digest(claim_id)[..8]);
    let kept: String = claim_id
        .chars()
        .filter(safe)
        .take(LONGEST_MESSAGE_ID - hash.len() - 1 - suffix.len())
        .collect();
    format!("{kept}-{hash}{suffix}")
}

#[derive(Serialize)]
struct Body<'a> {
    service: &'static str,
    api: &'static str,
    /// An object. Sent as a text, as in the documents' tables, it leads to error 9301003.
    data: Data<'a>,
    client_msg_id: String,
}

struct Data<'a> {
    product: Product,
    claim: &'a Claim,
    user_access_token: Option<&'a str>,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut data = serializer.serialize_map(None)?;
        data.serialize_entry("openid", &self.claim.account.id)?;
        data.serialize_entry("serviceid", &self.product.service_id)?;
        if let Some(token) = self.user_access_token {
            data.serialize_entry("user_access_token", token)?;
        }
        data.serialize_entry(self.product.risk_key, &Risk::of(self.claim))?;
        data.end()
    }
}

/// `sale_risk` and `login_risk` have the same fields, all of them optional.
#[derive(Serialize)]
struct Risk<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mchcode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phonenum: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wifibssid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clientip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deviceid: Option<&'a str>,
}

impl<'a> Risk<'a> {
    fn of(claim: &'a Claim) -> Self {
        let client = &claim.client;
        Self {
            mchcode: claim.reward.merchant.as_deref(),
            phonenum: claim.account.phone.as_deref(),
            certid: claim.identity.certificate_id.as_deref(),
            wifibssid: client.wifi_bssid.as_deref(),
            clientip: client.ip.as_deref(),
            deviceid: client.device_id.as_deref().or(client.imei.as_deref()),
        }
    }
}
