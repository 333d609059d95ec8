//! `/wxa/servicemarket` and `/tcb/servicemarket`: checks whether the call is as in the documents.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::super::api::Api;
use super::super::form::Form;
use super::super::plan::Refusal;
use super::super::state::State;
use super::super::visit::{Asked, Exchange};
use super::answer;
use super::token::Standing;

const SERVICE: &str = "wxd8a88093cf541a77";
const RISK_FIELDS: [&str; 6] =
    ["mchcode", "phonenum", "certid", "wifibssid", "clientip", "deviceid"];

/// Serves one call.
pub(in super::super) fn exchange(
    state: &Arc<State>,
    caller: &str,
    method: &str,
    query: &str,
    body: &[u8],
) -> Exchange {
    let message: Option<Value> = serde_json::from_slice(body).ok();
    let field = |name| message.as_ref().and_then(|message| message.get(name));
    let text = |name| field(name).and_then(Value::as_str).unwrap_or_default();
    let asked = Asked {
        caller,
        api: match text("api") {
            "weopensecriskservice" => Api::WechatMarketing,
            "weopensecuseracctrisklevel" => Api::WechatAccount,
            _ => Api::Unknown,
        },
        account: field("data")
            .and_then(|data| data.get("openid"))
            .and_then(Value::as_str)
            .unwrap_or_default(),
        claim: text("client_msg_id"),
        nonce: None,
        timestamp: None,
    };
    let refusal = check_platform(state, method, query, body)
        .and_then(|()| match &message {
            Some(Value::Object(message)) => {
                check_message(message, asked.api, state.options.lenient)
            }
            _ => Err(Refusal::new(47001, "data format error")),
        })
        .err();
    let (plan, visit) = state.open(&asked, refusal);
    let reply = answer::write(&asked, &plan);
    state.close(&asked, plan, visit, reply)
}

fn check_platform(state: &State, method: &str, query: &str, body: &[u8]) -> Result<(), Refusal> {
    if method != "POST" {
        return Err(Refusal::new(43002, "require POST method"));
    }
    let query = Form::read(query).unwrap_or_default();
    let token = query.get("access_token").filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Refusal::new(41001, "access_token missing"))?;
    match state.tokens().standing(token, Instant::now()) {
        Standing::Good => {}
        Standing::Unknown => {
            return Err(Refusal::new(
                40001,
                "invalid credential, access_token is invalid or not latest",
            ));
        }
        Standing::Expired => return Err(Refusal::new(42001, "access_token expired")),
    }
    if body.is_empty() { Err(Refusal::new(44002, "empty post data")) } else { Ok(()) }
}

fn check_message(message: &Map<String, Value>, api: Api, lenient: bool) -> Result<(), Refusal> {
    let invalid = |name: &str| Refusal::new(9_301_001, format!("invalid parameter: {name}"));
    for name in ["service", "api", "client_msg_id"] {
        message
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| invalid(name))?;
    }
    let known = ["service", "api", "client_msg_id", "data", "async"];
    if let Some(name) = message.keys().find(|name| !lenient && !known.contains(&name.as_str())) {
        return Err(invalid(name));
    }
    if message.get("service").and_then(Value::as_str) != Some(SERVICE) {
        return Err(Refusal::new(9_301_007, "invalid api config: no such service"));
    }
    if api == Api::Unknown {
        return Err(Refusal::new(9_301_008, "invalid api info: no such api of this service"));
    }
    match message.get("async") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => return Err(Refusal::new(9_301_013, "api type not match")),
        Some(_) => return Err(invalid("async")),
    }
    match message.get("data") {
        Some(Value::Object(data)) => check_data(data, api, lenient),
        Some(Value::String(_)) => Err(Refusal::new(9_301_003, "internal exception")),
        _ => Err(invalid("data")),
    }
}

fn check_data(data: &Map<String, Value>, api: Api, lenient: bool) -> Result<(), Refusal> {
    let (serviceid, risk) =
        if api == Api::WechatMarketing { (3, "sale_risk") } else { (2, "login_risk") };
    let wrong = |name: &str| Refusal::new(1, format!("data 内参数错误: {name}"));
    let is_filled = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if !data.get("openid").is_some_and(is_filled) {
        return Err(wrong("openid"));
    }
    match data.get("serviceid") {
        Some(Value::Number(number)) if number.as_u64() == Some(serviceid) => {}
        Some(Value::Number(_)) => return Err(Refusal::new(9, "serviceid 参数错误")),
        _ => return Err(wrong("serviceid")),
    }
    if !data.get("user_access_token").is_none_or(is_filled) {
        return Err(wrong("user_access_token"));
    }
    let known = ["openid", "serviceid", "user_access_token", risk];
    if let Some(name) = data.keys().find(|name| !lenient && !known.contains(&name.as_str())) {
        return Err(wrong(name));
    }
    let Some(Value::Object(fields)) = data.get(risk) else {
        return Err(wrong(risk));
    };
    let odd = |(name, value): &(&String, &Value)| {
        !value.is_string() || !(lenient || RISK_FIELDS.contains(&name.as_str()))
    };
    fields.iter().find(odd).map_or(Ok(()), |(name, _)| Err(wrong(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(message: &Value, api: Api) -> i64 {
        let Value::Object(message) = message else { return 0 };
        check_message(message, api, false).map_or_else(|refusal| refusal.code, |()| 0)
    }

    #[test]
    fn each_departure_from_the_documents_has_its_code() {
        let good = json!({"service": SERVICE, "api": "weopensecriskservice", "client_msg_id": "1234567890",
            "data": {"openid": "o", "serviceid": 3, "sale_risk": {"mchcode": "m", "deviceid": "d"}}});
        assert_eq!(check(&good, Api::WechatMarketing), 0);
        for (pointer, value, code) in [
            ("/service", json!("wx"), 9_301_007),
            ("/client_msg_id", json!(1), 9_301_001),
            ("/client_msg_id", json!(""), 9_301_001),
            ("/data", json!("{}"), 9_301_003),
            ("/data", json!([]), 9_301_001),
            ("/data/openid", json!(""), 1),
            ("/data/serviceid", json!(2), 9),
            ("/data/serviceid", json!("3"), 1),
            ("/data/sale_risk", json!(null), 1),
            ("/data/sale_risk/mchcode", json!(7), 1),
            ("/data/sale_risk", json!({}), 0),
            ("/data/sale_risk", json!({"mchCode": "m"}), 1),
        ] {
            let mut message = good.clone();
            *message.pointer_mut(pointer).unwrap() = value;
            assert_eq!(check(&message, Api::WechatMarketing), code, "{message}");
        }
        assert_eq!(check(&good, Api::WechatAccount), 9, "service 3 is not the account's");
        assert_eq!(check(&good, Api::Unknown), 9_301_008);
        let mut flat = good.clone();
        flat["data"]["mchcode"] = json!("m");
        assert_eq!(check(&flat, Api::WechatMarketing), 1);
        let mut later = good;
        later["async"] = json!(true);
        assert_eq!(check(&later, Api::WechatMarketing), 9_301_013);
    }
}
