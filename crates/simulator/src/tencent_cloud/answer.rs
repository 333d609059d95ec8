//! The form of Tencent Cloud's answers. The samples in its documents differ from each other, and so
//! do these: a harmless verdict has the short form of the first sample, any other every key of the
//! tables.

use super::super::api::Api;
use super::super::form::Form;
use super::super::json::Object;
use super::super::plan::{Course, Plan, Refusal};
use super::super::reply::Reply;
use super::super::trouble::Shape;
use super::super::verdicts::Verdict;

const JSON: &str = "application/json; charset=utf-8";
const JAVASCRIPT: &str = "application/javascript; charset=utf-8";

/// Writes the answer of the plan; an empty body if the API does not answer itself.
pub(super) fn write(api: Api, form: &Form<'_>, plan: &Plan) -> Reply {
    let as_script = api == Api::CaptchaQuery && form.get("script") == Some("1");
    match &plan.course {
        Course::Refused(refusal) if as_script => {
            let call_back =
                form.get("callBack").filter(|name| is_identifier(name)).unwrap_or("callback");
            Reply::new(200, JAVASCRIPT, format!("{call_back}({});", error(refusal, plan.shape)))
        }
        Course::Refused(refusal) => Reply::new(200, JSON, error(refusal, plan.shape)),
        Course::Verdict(verdict) => match api {
            Api::CaptchaQuery if as_script => Reply::new(200, JAVASCRIPT, script(form, plan.shape)),
            Api::CaptchaQuery => Reply::new(200, JSON, captcha(form, plan.shape)),
            Api::CaptchaCheck => Reply::new(200, JSON, captcha_check(plan.shape)),
            _ => Reply::new(200, JSON, assessment(api, form, verdict, plan.shape)),
        },
        Course::Status(..) | Course::Hang | Course::Reset => Reply::new(200, JSON, ""),
    }
}

fn error(refusal: &Refusal, shape: Shape) -> String {
    let mut object = code(refusal.code, shape);
    object.text("codeDesc", code_desc(refusal.code));
    object.text("message", &refusal.message);
    object.end()
}

fn assessment(api: Api, form: &Form<'_>, verdict: &Verdict, shape: Shape) -> String {
    let mut object = code(0, shape);
    let is_terse =
        api == Api::IntelligentQrCode && verdict.level == 0 && verdict.risk_types.is_empty();
    let ip = form.get("userIp").or_else(|| form.get("userIP")).unwrap_or_default();
    let post_time = form.get("postTime").unwrap_or_default();
    let level = match shape {
        Shape::NoLevel => None,
        Shape::LevelSpace => Some("level "),
        _ if api == Api::MiniProgram => Some("Level"),
        _ => Some("level"),
    };
    if !is_terse {
        object.text("codeDesc", "Success");
    }
    object.text("message", "No Error");
    if let Some(level) = level {
        object.number(level, verdict.level);
    }
    if is_terse {
        object.text("userIP", ip);
        object.raw("postTime", &number(post_time));
    } else {
        object.raw("Nonce", &number(form.get("Nonce").unwrap_or_default()));
        object.text("userIp", ip);
        object.text("postTime", post_time);
        object.list("riskType", &verdict.risk_types);
    }
    object.text("uid", form.get("uid").unwrap_or_default());
    if let Some(associate) = form.get("associateAccount") {
        object.text("associateAccount", associate);
    }
    object.end()
}

fn captcha(form: &Form<'_>, shape: Shape) -> String {
    let mut object = code(0, shape);
    object.text("message", "No Error");
    if shape != Shape::NoLevel {
        object.text("script", &script(form, shape));
    }
    object.end()
}

/// `is_right` is 0 although the ticket is good, as in the provider's sample: only the code counts.
fn captcha_check(shape: Shape) -> String {
    let mut object = code(0, shape);
    object.text("message", "No Error");
    object.number("is_right", 0);
    object.end()
}

/// The JavaScript of one page load; the nonce makes each unique.
fn script(form: &Form<'_>, shape: Shape) -> String {
    if shape == Shape::NoLevel {
        return String::new();
    }
    let nonce = form.get("Nonce").unwrap_or_default();
    let picture = form.get("captchaType").unwrap_or_default();
    format!(
        "(function(){{var capSess=\"sim-{nonce}\";var capType={picture};\
         window.capInit=function(div,opt){{div.innerHTML='<img alt=\"captcha\">';\
         if(opt&&opt.callback){{opt.callback({{ret:0,ticket:\"ticket-\"+capSess}});}}}};}})();"
    )
}

fn code(code: i64, shape: Shape) -> Object {
    let mut object = Object::new();
    if shape == Shape::StringCode {
        object.text("code", &code.to_string());
    } else {
        object.number("code", code);
    }
    object
}

/// As JSON writes a number: `007` and `+7` are 7.
fn number(text: &str) -> String {
    text.parse::<u64>().unwrap_or_default().to_string()
}

fn code_desc(code: i64) -> &'static str {
    match code {
        4000 => "InvalidParameter",
        4100..=4110 => "AuthFailure",
        4200 => "RequestExpired",
        4500 => "ReplayAttack",
        5100 => "OperationFailed",
        6000 => "InternalError",
        _ => "BusinessError",
    }
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte))
}
