//! `IntelligentQRCode`, the schema of December 2018: mini-programs.
//!
//! Owns the wire names of this schema and its table of risk types. Signature, envelope and error
//! codes are in [`super::tencent_cloud`]. The invariant: a code of this table is never read with
//! another schema's meaning. Here 101 is an account of low credit; in
//! [`super::intelligent_qr_code`] it is a batch operation.
//!
//! Source: Tencent Cloud 营销风控 "API 文档", revision of 2018-12-13.

use super::Registration;
use super::tencent_cloud::{LEVELS, LevelApi, Parameters};
use crate::claim::{AccountType, Claim, DeadLetterReason, EventError, Secret, required};
use crate::decision::{Effect, RiskType};

/// `[risk.mini_program]`.
pub const REGISTRATION: Registration = Registration {
    name: "mini_program",
    kind: "mini_program",
    schema: "2018-12",
    levels: LEVELS,
    risk_types: &RISK_TYPES,
    max_attempts: None,
    tokens: None,
    build: |setup| LevelApi::build("IntelligentQRCode", check, parameters, setup),
};

/// `accountType` (输入参数): this schema accepts three.
fn account_type(kind: AccountType) -> Option<u32> {
    match kind {
        AccountType::Other => Some(0),
        AccountType::Qq => Some(1),
        AccountType::Wechat => Some(2),
        AccountType::Phone
        | AccountType::Device
        | AccountType::PhoneMd5
        | AccountType::PhoneCode
        | AccountType::Email => None,
    }
}

/// The input parameters (输入参数), by wire name and claim field, capitalised as in the document.
fn parameters(claim: &Claim) -> Parameters<'_> {
    let Claim { account, client, login, reward, .. } = claim;
    let mut parameters = Parameters::default();
    parameters
        .number("accountType", "account.type", account_type(account.kind))
        .text("uid", "account.id", Some(&account.id))
        .text("accessToken", "login.token", login.token.as_ref().map(Secret::expose))
        .text("userIP", "client.ip", client.ip.as_deref())
        .number("postTime", "claimed_at", Some(claim.claimed_at))
        .text("Type", "reward.goods", reward.goods.as_deref())
        .text("appid", "account.app_id", account.app_id.as_deref())
        .text("EncryptedCode", "reward.code_hash", reward.code_hash.as_deref())
        .number("Share", "reward.share", reward.share)
        .number("Daytimes", "reward.daily_limit", reward.daily_limit)
        .number("Totaltimes", "reward.total_limit", reward.total_limit)
        .text("phoneNumber", "account.phone", account.phone.as_deref())
        .text("Address", "client.address", client.address.as_deref())
        .number("Latitude", "client.latitude", client.latitude)
        .number("Longitude", "client.longitude", client.longitude)
        .text("Imei", "client.imei", client.imei.as_deref());
    parameters
}

fn check(claim: &Claim) -> Result<(), DeadLetterReason> {
    if account_type(claim.account.kind).is_none() {
        let detail = "the mini-program API does not take this type";
        return Err(DeadLetterReason::field(EventError::InvalidValue, "account.type", detail));
    }
    required("login.token", claim.login.token.as_ref())?;
    required("reward.goods", claim.reward.goods.as_ref()).map(drop)
}

/// The types of risk (risktype 详细说明).
const RISK_TYPES: [RiskType; 9] = [
    RiskType { code: 101, name: "low_credit", group: "account", effect: Effect::Explains },
    RiskType { code: 102, name: "junk_account", group: "account", effect: Effect::Explains },
    RiskType { code: 103, name: "invalid_account", group: "account", effect: Effect::NotAssessed },
    RiskType { code: 201, name: "batch_operation", group: "behaviour", effect: Effect::Explains },
    RiskType { code: 202, name: "code_trading", group: "behaviour", effect: Effect::Explains },
    RiskType { code: 203, name: "bot", group: "behaviour", effect: Effect::Explains },
    RiskType { code: 204, name: "abnormal_scanning", group: "behaviour", effect: Effect::Explains },
    RiskType {
        code: 301,
        name: "abnormal_environment",
        group: "environment",
        effect: Effect::Explains,
    },
    RiskType {
        code: 302,
        name: "js_report_abnormal",
        group: "environment",
        effect: Effect::Explains,
    },
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::*;
    use super::REGISTRATION;

    #[test]
    fn every_field_of_the_claim_is_sent_as_the_document_capitalises_it() {
        let registry = api(REGISTRATION.name, "");
        let claim = claim(json!({ "kind": "mini_program", "reward": { "goods": "12" } }));
        assert_eq!(fault_of(&registry, &claim), None);
        let request = only(&registry).request(&claim, &ATTEMPT);
        let sent: Vec<_> =
            wire(&request).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "Action=IntelligentQRCode",
            "Address=广东省深圳市南山区",
            "Daytimes=3",
            "EncryptedCode=9b2c0f6e7a1d4c35",
            "Imei=imei-1",
            "Latitude=22.5405",
            "Longitude=113.9345",
            "Nonce=3557156860",
            "Region=ap-guangzhou",
            "SecretId=AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA",
            "Share=1",
            "Timestamp=1632994483",
            "Totaltimes=10",
            "Type=12",
            "accessToken=user+token",
            "accountType=2",
            "appid=wx0000000000000001",
            "phoneNumber=15912345687",
            "postTime=1632994480",
            "uid=oPDER5U0VMARiyXxUruU4SYmyOiw",
            "userIP=121.14.96.121",
        ];
        assert_eq!(sent[..sent.len() - 1], expected);
        assert!(request.redacted.contains("&accessToken=***&"));
    }

    #[test]
    fn claims_that_the_api_would_not_take_are_malformed() {
        let registry = api(REGISTRATION.name, "");
        for (changes, error, field) in [
            (json!({ "account": { "type": "phone" } }), "invalid_value", "account.type"),
            (json!({ "login": { "token": null } }), "missing_field", "login.token"),
            (json!({ "reward": { "goods": null } }), "missing_field", "reward.goods"),
        ] {
            let mut claim = claim(changes);
            claim.kind = "mini_program".to_owned();
            assert_eq!(fault_of(&registry, &claim), Some((error, field.to_owned())));
        }
    }

    #[test]
    fn answers_are_read() {
        let registry = api(REGISTRATION.name, "");
        readings(
            only(&registry),
            REGISTRATION.name,
            &[
                ("full_answer.json", level(2, &[101])),
                ("level_in_lower_case.json", level(4, &[201, 202])),
                ("invalid_account.json", level(0, &[103])),
                ("level_absent.json", transient("malformed_answer", 0)),
                ("error_5100.json", transient("operation_failed", 5100)),
            ],
        );
    }

    #[test]
    fn the_same_codes_mean_other_things_than_in_2021() {
        let (old, new) = (api(REGISTRATION.name, ""), api("intelligent_qr_code", ""));
        let names = |code| {
            [&old, &new].map(|registry| {
                only(registry).risk_type(code).map(|found| found.name).unwrap_or_default()
            })
        };
        assert_eq!(names(101), ["low_credit", "batch_operation"]);
        assert_eq!(names(102), ["junk_account", "bot"]);
        assert_eq!(names(103), ["invalid_account", "abnormal_scanning"]);
        assert_eq!(names(201), ["batch_operation", "abnormal_environment"]);
        assert_eq!(names(202), ["code_trading", ""]);
        assert_eq!(names(203), ["bot", ""]);
        assert_eq!((only(&old).schema(), only(&new).schema()), ("2018-12", "2021"));
    }
}
