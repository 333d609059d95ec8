//! `CaptchaQuery`: a captcha for the user to solve.
//!
//! Owns the `script` parameter and the two forms of answers that it selects. The parameters are in
//! `captcha.rs`, signature and envelope in [`super::tencent_cloud`]. The invariant: a script that
//! is passed on is text, not empty, and not a proxy's page.
//!
//! Source: Tencent Cloud 天御 "拉取验证码JavaScript", 2017-10.

use serde::Deserialize;

use super::setup::Setup;
use super::signature::SignatureMethod;
use super::tencent_cloud::{ApiSettings, Client, Parameters, answer_of_code, without_result};
use super::tolerant::without_mark;
use super::{
    Answer, ApiResult, Attempt, FaultReason, Method, Registration, Request, RiskApi, SectionError,
    captcha,
};
use crate::claim::{Claim, DeadLetterReason};
use crate::decision::Assessment;

/// `[risk.captcha_query]`.
pub const REGISTRATION: Registration = Registration {
    name: "captcha_query",
    kind: "captcha",
    schema: "2017-10",
    levels: &[],
    risk_types: &[],
    max_attempts: None,
    tokens: None,
    build,
};

/// The section's own keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// See [`ApiSettings::method`].
    pub method: Method,
    /// See [`ApiSettings::signature_method`].
    pub signature_method: SignatureMethod,
    /// 0: the answer is JSON with the script in it. 1: the answer is the script.
    pub script: u8,
    /// With `script = 1`, which needs it: the JavaScript function that the answer calls on error.
    pub callback: Option<String>,
}

/// The API.
#[derive(Debug)]
pub struct CaptchaQuery {
    client: Client,
    raw_script: bool,
    callback: Option<String>,
}

fn build(setup: &mut Setup<'_>) -> Result<Box<dyn RiskApi>, SectionError> {
    let Settings { method, signature_method, script, callback } = setup.settings()?;
    let at = |key: &str, problem: &str| {
        Err(SectionError::new(format!("risk.captcha_query.{key}"), problem))
    };
    if script > 1 {
        return at("script", "this is 0 (JSON) or 1 (JavaScript)");
    }
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte))
    };
    if callback
        .as_deref()
        .is_some_and(|callback| script == 0 || callback.is_empty() || !is_name(callback))
    {
        return at("callback", "this is the name of a JavaScript function, and needs `script = 1`");
    }
    if script == 1 && callback.is_none() {
        let problem = "`script = 1` needs the name of a JavaScript function here: without it, an \
                       error cannot be told from a script";
        return at("callback", problem);
    }
    let client = Client::new("CaptchaQuery", ApiSettings { method, signature_method }, setup);
    Ok(Box::new(CaptchaQuery { client, raw_script: script == 1, callback }))
}

impl CaptchaQuery {
    fn parameters<'a>(&'a self, claim: &'a Claim) -> Parameters<'a> {
        let mut parameters = captcha::parameters(claim);
        parameters.number("script", "", Some(u8::from(self.raw_script)));
        parameters.text("callBack", "", self.callback.as_deref());
        parameters
    }

    /// The body is JavaScript, even on error. JSON or a page comes from a server in between.
    fn read_raw(&self, answer: &Answer<'_>) -> ApiResult {
        let body = without_mark(answer.body);
        if !answer.is_success() || body.trim_ascii_start().starts_with(b"{") {
            return self.read_json(answer);
        }
        let script = std::str::from_utf8(body).ok();
        match (script, script.and_then(|script| self.error(script))) {
            (_, Some(error)) => self.read_error(error),
            (Some(script), None) if is_script(script) => challenge(script.to_owned()),
            _ => ApiResult::transient(FaultReason::MalformedAnswer),
        }
    }

    /// The argument of the script's call of the error function, if there is such a call.
    fn error<'a>(&self, script: &'a str) -> Option<&'a str> {
        let rest = script.trim_start().strip_prefix(self.callback.as_deref()?)?;
        let argument = rest.trim_start().strip_prefix('(')?;
        Some(argument.rsplit_once(')').map_or(argument, |(argument, _)| argument))
    }

    /// The document does not say what the argument is. An error code in it is read as usual; a
    /// success code is not, because this call means an error.
    fn read_error(&self, argument: &str) -> ApiResult {
        match self.client.open(&Answer { status: 200, body: argument.as_bytes() }) {
            Err(result) if result.provider_code().is_some() => result,
            _ => ApiResult::transient(FaultReason::ErrorCallback),
        }
    }

    fn read_json(&self, answer: &Answer<'_>) -> ApiResult {
        match self.client.open(answer) {
            Ok(envelope) => match envelope.script().filter(|script| is_script(script)) {
                Some(script) => challenge(script),
                None => without_result(),
            },
            Err(result) => result,
        }
    }
}

fn challenge(script: String) -> ApiResult {
    ApiResult::Assessed { assessment: Assessment::Challenge { script }, provider_code: 0 }
}

/// Not empty, not HTML, and without NUL, which Postgres cannot store in a text.
fn is_script(script: &str) -> bool {
    let script = script.trim_start();
    !script.is_empty() && !script.starts_with('<') && !script.contains('\0')
}

impl RiskApi for CaptchaQuery {
    fn registration(&self) -> &'static Registration {
        &REGISTRATION
    }

    fn check(&self, claim: &Claim) -> Result<(), DeadLetterReason> {
        captcha::check(claim)?;
        self.client.check(&self.parameters(claim))
    }

    fn request(&self, claim: &Claim, attempt: &Attempt<'_>) -> Request {
        self.client.request(self.parameters(claim), attempt)
    }

    fn read(&self, answer: &Answer<'_>) -> ApiResult {
        if self.raw_script { self.read_raw(answer) } else { self.read_json(answer) }
    }

    fn answer_of_code(&self, provider_code: i64) -> String {
        answer_of_code(provider_code)
    }
}

#[cfg(test)]
mod tests;
