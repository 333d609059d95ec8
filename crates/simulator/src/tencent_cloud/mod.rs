//! Tencent Cloud API v2 on `/v2/index.php`: `IntelligentQRCode` in both schemas, `CaptchaQuery`,
//! `CaptchaCheck`.
//!
//! One call, in order: decode, find the schema, check the common parameters, the signature, the
//! clock, the nonce and the API's own parameters, plan, answer. Errors are answered with HTTP 200
//! and a code, as the provider does.

mod answer;
pub(super) mod nonces;
mod parameters;
mod schema;
pub(super) mod signature;
pub(super) mod tickets;

use std::sync::Arc;

use super::api::Api;
use super::form::Form;
use super::plan::{Course, Plan, Refusal};
use super::state::{State, unix_seconds};
use super::verdicts::Verdict;
use super::visit::{Asked, Exchange};

use parameters::Schema;

/// Serves one call. `text` is the query of a GET or the form body of a POST; the two never mix.
pub(super) fn exchange(
    state: &Arc<State>,
    caller: &str,
    method: &str,
    text: Result<&str, Refusal>,
) -> Exchange {
    let form = text.and_then(|text| {
        Form::read(text).map_err(|problem| Refusal::new(4000, format!("(100004){problem}")))
    });
    let (form, broken) = match form {
        Ok(form) => (form, None),
        Err(refusal) => (Form::default(), Some(refusal)),
    };
    let schema = Schema::of(&form);
    let text = |key| form.get(key).unwrap_or_default();
    let asked = Asked {
        caller,
        api: schema.as_ref().map_or(Api::Unknown, |schema| schema.api),
        account: text("uid"),
        claim: text(schema.as_ref().map_or("", |schema| schema.claim)),
        nonce: form.get("Nonce").and_then(|nonce| nonce.parse().ok()),
        timestamp: form.get("Timestamp").and_then(|timestamp| timestamp.parse().ok()),
    };
    let refusal = match (broken, schema) {
        (Some(refusal), _) | (None, Err(refusal)) => Some(refusal),
        (None, Ok(schema)) => check(state, method, &form, schema).err(),
    };
    let (mut plan, visit) = state.open(&asked, refusal);
    reconsider(state, &form, asked.api, &mut plan);
    let reply = answer::write(asked.api, &form, &plan);
    state.close(&asked, plan, visit, reply)
}

fn check(state: &State, method: &str, form: &Form<'_>, schema: &Schema) -> Result<(), Refusal> {
    let common = schema::Common::read(form)?;
    let accepted = state.accepted();
    let key = accepted.keys.iter().find(|(id, _)| id == common.secret_id);
    let (_, key) =
        key.ok_or_else(|| Refusal::new(4104, "(100002)SecretId does not exist or is disabled"))?;
    key.verify(method, &state.options.signed_host, form, common.signature)?;
    let now = unix_seconds();
    let tolerance = state.options.clock_tolerance.map(|tolerance| tolerance.as_secs());
    if tolerance.is_some_and(|seconds| now.abs_diff(common.timestamp) > seconds) {
        return Err(Refusal::new(
            4200,
            format!("request expired: Timestamp is {}, now is {now}", common.timestamp),
        ));
    }
    if !state.nonces().is_new(common.timestamp, common.nonce, now, tolerance) {
        return Err(Refusal::new(4500, "replay attack: this Nonce and Timestamp were used before"));
    }
    schema.check(form, state.options.lenient)
}

/// Special rules of this provider: an address that is not public is not assessed, and the verdict
/// of a captcha ticket follows from the ticket.
fn reconsider(state: &State, form: &Form<'_>, api: Api, plan: &mut Plan) {
    let Course::Verdict(verdict) = &plan.course else {
        return;
    };
    match api {
        Api::IntelligentQrCode
            if !plan.dictated && !form.get("userIp").is_some_and(schema::is_public) =>
        {
            plan.course = Course::Verdict(Verdict { level: 0, risk_types: vec![205] });
        }
        Api::CaptchaCheck => {
            let ticket = form.get("ticket").unwrap_or_default();
            let is_good = state.tickets().passes(ticket, unix_seconds(), state.options.ticket_life);
            if verdict.level >= 3 || !is_good {
                plan.course = Course::Refused(Refusal::new(5100, "verification failed"));
            }
        }
        _ => {}
    }
}
