//! WeChat 账号风险识别, `weopensecuseracctrisklevel`: the risk of an account at login.
//!
//! Owns the product's name, number and risk object. Request, envelopes and error codes are in
//! [`super::wechat`]. The invariant: `serviceid` and risk object belong to the same product.
//!
//! Source: WeChat "小程序风控 API", 账号风险识别.

use super::Registration;
use super::wechat::{LEVELS, Product, SCHEMA, ServiceMarket, tokens};

/// `[risk.wechat_account]`, which has only the common keys.
pub const REGISTRATION: Registration = Registration {
    name: "wechat_account",
    kind: "wechat_account",
    schema: SCHEMA,
    levels: LEVELS,
    risk_types: &[],
    max_attempts: None,
    tokens: Some(tokens),
    build: |setup| ServiceMarket::build(PRODUCT, setup),
};

const PRODUCT: Product =
    Product { api: "weopensecuseracctrisklevel", service_id: 2, risk_key: "login_risk" };

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::*;
    use super::REGISTRATION;

    #[test]
    fn the_risk_object_is_there_even_when_it_is_nearly_empty() {
        let registry = api(REGISTRATION.name, "path = '/wxa/servicemarket'");
        let claim = parse(&json!({
            "claim_id": "1", "kind": "wechat_account", "claimed_at": 0,
            "account": { "type": "wechat", "id": "openid" }, "client": { "ip": "121.14.96.121" },
        }));
        assert_eq!(fault_of(&registry, &claim), None);
        let request = only(&registry).request(&claim, &ATTEMPT);
        assert_eq!(
            request.url,
            "https://api.weixin.qq.com/wxa/servicemarket?access_token=access%2Btoken"
        );
        let body: Value = serde_json::from_str(&request.body.unwrap().1).unwrap();
        assert_eq!(body["api"], "weopensecuseracctrisklevel");
        let login_risk = json!({ "clientip": "121.14.96.121" });
        assert_eq!(
            body["data"],
            json!({ "openid": "openid", "serviceid": 2, "login_risk": login_risk })
        );
    }

    #[test]
    fn answers_are_read() {
        let registry = api(REGISTRATION.name, "");
        readings(
            only(&registry),
            REGISTRATION.name,
            &[
                ("document_call.json", level(0, &[])),
                ("level_2.json", level(2, &[])),
                ("inner_3.json", access_denied("no_permission", 3)),
                ("error_openid.json", unassessable("bad_openid", 40003)),
            ],
        );
    }
}
