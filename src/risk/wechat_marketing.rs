//! WeChat 营销活动反作弊, `weopensecriskservice`: cheating in marketing campaigns.
//!
//! Owns the product's name, number and risk object. Request, envelopes and error codes are in
//! [`super::wechat`]. The invariant: `serviceid` and risk object belong to the same product.
//!
//! Source: WeChat "小程序风控 API", 营销活动反作弊.

use super::Registration;
use super::wechat::{LEVELS, Product, SCHEMA, ServiceMarket, tokens};

/// `[risk.wechat_marketing]`, which has only the common keys.
pub const REGISTRATION: Registration = Registration {
    name: "wechat_marketing",
    kind: "wechat_marketing",
    schema: SCHEMA,
    levels: LEVELS,
    risk_types: &[],
    max_attempts: None,
    tokens: Some(tokens),
    build: |setup| ServiceMarket::build(PRODUCT, setup),
};

const PRODUCT: Product =
    Product { api: "weopensecriskservice", service_id: 3, risk_key: "sale_risk" };

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::RetryHint;
    use super::super::testing::*;
    use super::REGISTRATION;

    #[test]
    fn request_is_the_documents_sample() {
        let registry = api(REGISTRATION.name, "");
        let claim = claim(json!({ "kind": "wechat_marketing" }));
        assert_eq!(fault_of(&registry, &claim), None);
        let request = only(&registry).request(&claim, &ATTEMPT);
        assert_eq!(
            request.url,
            "https://api.weixin.qq.com/tcb/servicemarket?access_token=access%2Btoken"
        );
        let body = "{\"service\":\"wxd8a88093cf541a77\",\"api\":\"weopensecriskservice\",\
            \"data\":{\"openid\":\"oPDER5U0VMARiyXxUruU4SYmyOiw\",\"serviceid\":3,\
            \"sale_risk\":{\"mchcode\":\"merchant-1\",\"phonenum\":\"15912345687\",\"certid\":\"certificate-1\",\
            \"wifibssid\":\"66:77:88:99:aa:bb\",\"clientip\":\"121.14.96.121\",\"deviceid\":\"device-1\"}},\
            \"client_msg_id\":\"clm-20210930-000017-1\"}";
        assert_eq!(request.body, Some(("application/json", body.to_owned())));
        let redacted =
            format!("POST https://api.weixin.qq.com/tcb/servicemarket?access_token=***\n\n{body}");
        assert_eq!(request.redacted, redacted);
    }

    #[test]
    fn answers_are_read_tolerantly_and_never_guessed() {
        let registry = api(REGISTRATION.name, "");
        let token = |code| again("bad_access_token", code, RetryHint::NewToken);
        readings(
            only(&registry),
            REGISTRATION.name,
            &[
                ("document_call.json", level(0, &[])),
                ("document_sample_unescaped.json", malformed()),
                ("document_sample_verbatim.json", malformed()),
                ("level_3.json", level(3, &[])),
                ("data_as_object.json", level(2, &[])),
                ("innermost_data_as_text.json", level(1, &[])),
                ("numbers_as_text.json", level(1, &[])),
                ("keys_in_odd_case_and_blanks.json", level(2, &[])),
                ("text_in_text_in_text.json", malformed()),
                ("level_out_of_range.json", transient("malformed_answer", 0)),
                ("level_absent.json", transient("malformed_answer", 0)),
                ("inner_data_absent.json", transient("malformed_answer", 0)),
                ("inner_code_absent.json", malformed()),
                ("inner_empty.json", malformed()),
                ("inner_nul.json", malformed()),
                ("inner_conflict.json", transient("malformed_answer", 0)),
                ("data_absent.json", malformed()),
                ("errcode_absent.json", malformed()),
                ("data_beside_error.json", transient("service_failed", 9_301_002)),
                ("inner_1.json", unassessable("bad_parameter", 1)),
                ("inner_2.json", unassessable("bad_openid", 2)),
                ("inner_3.json", access_denied("no_permission", 3)),
                ("inner_4.json", transient("internal_error", 4)),
                ("inner_9.json", transient("bad_service_id", 9)),
                ("inner_11.json", unassessable("bad_openid", 11)),
                ("inner_12.json", unassessable("not_logged_in", 12)),
                ("inner_13.json", lasting("insufficient_balance", 13)),
                ("inner_unknown.json", transient("unknown_code", 99)),
                ("error_token_expired.json", token(42001)),
                ("error_token_invalid.json", token(40001)),
                ("error_daily_quota.json", lasting("quota_exceeded", 45009)),
                ("error_data_as_text.json", transient("internal_error", 9_301_003)),
                ("error_busy.json", transient("busy", -1)),
                ("html.html", malformed()),
                ("empty.txt", malformed()),
                ("nul_bytes.bin", malformed()),
                ("truncated.json", malformed()),
                ("deep_nesting.json", malformed()),
                ("http_412_html.html", http_4xx()),
                ("http_400_envelope.json", unassessable("bad_request", 47001)),
            ],
        );
    }
}
