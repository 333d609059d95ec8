//! The form of WeChat's answers: the platform's envelope, and in it the risk service's own JSON as
//! a string.

use super::super::json::{self, Object};
use super::super::plan::{Course, Plan};
use super::super::reply::Reply;
use super::super::trouble::Shape;
use super::super::verdicts;
use super::super::visit::Asked;

const JSON: &str = "application/json; charset=UTF-8";

/// Writes the answer of the plan; an empty body if WeChat does not answer itself.
pub(super) fn write(asked: &Asked<'_>, plan: &Plan) -> Reply {
    let body = match &plan.course {
        Course::Refused(refusal) if (1..100).contains(&refusal.code) => {
            // A check's message begins with the words of the table and says more.
            let (found, table) = (&*refusal.message, inner_message(refusal.code));
            let message = if found.starts_with(table) { found } else { table };
            envelope(asked, &inner(refusal.code, message, None, plan.shape), plan.shape)
        }
        Course::Refused(refusal) => error(refusal.code, &refusal.message, asked),
        Course::Verdict(verdict) => {
            let mut data = Object::new();
            match plan.shape {
                Shape::NoLevel => {}
                Shape::LevelSpace => data.number("risklevel ", verdict.level),
                _ => data.number("risklevel", verdict.level),
            }
            envelope(asked, &inner(0, "请求成功", Some(&data.end()), plan.shape), plan.shape)
        }
        Course::Status(..) | Course::Hang | Course::Reset => String::new(),
    };
    Reply::new(200, JSON, body)
}

/// The platform's own error; support asks for the ids at its end.
pub(super) fn error(code: i64, message: &str, asked: &Asked<'_>) -> String {
    let id = id(asked);
    let mut object = Object::new();
    object.number("errcode", code);
    let rid = format!(
        "rid: {:08x}-{:08x}-{:08x}",
        id >> 32,
        id & 0xffff_ffff,
        id.rotate_left(17) & 0xffff_ffff
    );
    if code >= 9_301_000 {
        object.text("errmsg", &format!("{message} request id:[{}] {rid}", request_id(id)));
    } else {
        object.text("errmsg", &format!("{message} {rid}"));
    }
    object.end()
}

fn inner(code: i64, message: &str, data: Option<&str>, shape: Shape) -> String {
    let mut object = Object::new();
    if shape == Shape::StringCode {
        object.text("code", &code.to_string());
    } else {
        object.number("code", code);
    }
    object.text("msg", message);
    if let Some(data) = data {
        object.raw("data", data);
    }
    object.end()
}

fn envelope(asked: &Asked<'_>, inner: &str, shape: Shape) -> String {
    let mut object = Object::new();
    object.number("errcode", 0);
    object.text("errmsg", "ok");
    match shape {
        Shape::InnerObject => object.raw("data", inner),
        Shape::InnerTruncated => object.raw("data", &json::quote(&inner[..inner.len() - 1])),
        _ => object.text("data", inner),
    }
    object.text("request_id", &request_id(id(asked)));
    object.text("provider_errmsg", "");
    object.end()
}

/// 服务返回 data 内 code 字段说明.
fn inner_message(code: i64) -> &'static str {
    match code {
        1 => "data 内参数错误",
        2 | 11 => "非正常的 openid",
        3 => "该产品尚无权限调用",
        9 => "serviceid 参数错误",
        12 => "当前用户未登录无法使用该产品",
        13 => "余额不足,无法请求",
        _ => "内部服务错误",
    }
}

fn id(asked: &Asked<'_>) -> u64 {
    verdicts::hash(&[asked.account.as_bytes(), asked.claim.as_bytes()])
}

fn request_id(id: u64) -> String {
    format!("ML{id:016x}-{:016x}", id.rotate_left(29))
}
