//! `CaptchaCheck`, edition of 2016: whether the ticket that a user got for an answer is good.
//!
//! Owns the meaning of `code` here: 5100 is a verdict and no fault. The parameters are in
//! `captcha.rs`, signature and envelope in [`super::tencent_cloud`]. The invariants: only `code`
//! says whether a ticket is good (the document's own sample of success has `"is_right":0`); a
//! ticket is not sent more often than it passes; no claim is rejected for a ticket that expired
//! while the claim waited.
//!
//! Source: Tencent Cloud 天御 "验证验证码票据", 2016.

use std::time::Duration;

use serde::Deserialize;

use super::setup::Setup;
use super::signature::SignatureMethod;
use super::tencent_cloud::{ApiSettings, Client, Parameters, answer_of_code};
use super::{
    Answer, ApiResult, Attempt, Method, Registration, Request, RiskApi, SectionError, captcha,
};
use crate::claim::{Claim, DeadLetterReason, Secret, required};
use crate::decision::Assessment;

/// `[risk.captcha_check]`.
pub const REGISTRATION: Registration = Registration {
    name: "captcha_check",
    kind: "captcha_check",
    schema: "2016",
    levels: &[],
    risk_types: &[],
    max_attempts: Some(CHECKS_OF_A_TICKET),
    tokens: None,
    build,
};

/// The ticket is not good. To Tencent Cloud's other APIs this code means "failed, ask again".
const VERIFICATION_FAILED: i64 = 5100;
/// A good ticket passes only its first two checks (验证码问题说明); a third would reject an honest user.
const CHECKS_OF_A_TICKET: u32 = 2;

/// A ticket is late after this part of its life: the user may have got it some time before the
/// claim.
const PART_UNTIL_LATE: u32 = 10;

/// The section's own keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// See [`ApiSettings::method`].
    pub method: Method,
    /// See [`ApiSettings::signature_method`].
    pub signature_method: SignatureMethod,
    /// How long a ticket is good, counted from the claim's time. The API is not called for an older
    /// claim.
    #[serde(with = "humantime_serde")]
    pub ticket_lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let ApiSettings { method, signature_method } = ApiSettings::default();
        Self { method, signature_method, ticket_lifetime: Duration::from_secs(20 * 60) }
    }
}

/// The API.
#[derive(Debug)]
pub struct CaptchaCheck {
    client: Client,
    ticket_lifetime: Duration,
}

fn build(setup: &mut Setup<'_>) -> Result<Box<dyn RiskApi>, SectionError> {
    let Settings { method, signature_method, ticket_lifetime } = setup.settings()?;
    if ticket_lifetime.is_zero() {
        let problem =
            "a ticket must be given some time: it lives for 20 minutes, says the provider";
        return Err(SectionError::new("risk.captcha_check.ticket_lifetime", problem));
    }
    let client = Client::new("CaptchaCheck", ApiSettings { method, signature_method }, setup);
    Ok(Box::new(CaptchaCheck { client, ticket_lifetime }))
}

/// The time that is this long after the claim's, UNIX seconds.
fn after_claim(claim: &Claim, time: Duration) -> i64 {
    claim.claimed_at.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

fn parameters(claim: &Claim) -> Parameters<'_> {
    let mut parameters = captcha::parameters(claim);
    parameters.text("ticket", "captcha.ticket", claim.captcha.ticket.as_ref().map(Secret::expose));
    parameters
}

impl RiskApi for CaptchaCheck {
    fn registration(&self) -> &'static Registration {
        &REGISTRATION
    }

    fn ask_until(&self, claim: &Claim) -> Option<i64> {
        Some(after_claim(claim, self.ticket_lifetime))
    }

    fn is_late(&self, claim: &Claim, assessment: &Assessment, asked_at: i64) -> bool {
        let late = after_claim(claim, self.ticket_lifetime / PART_UNTIL_LATE);
        *assessment == Assessment::Ticket { valid: false } && asked_at > late
    }

    fn check(&self, claim: &Claim) -> Result<(), DeadLetterReason> {
        captcha::check(claim)?;
        required("captcha.ticket", claim.captcha.ticket.as_ref())?;
        self.client.check(&parameters(claim))
    }

    fn request(&self, claim: &Claim, attempt: &Attempt<'_>) -> Request {
        self.client.request(parameters(claim), attempt)
    }

    fn read(&self, answer: &Answer<'_>) -> ApiResult {
        match self.client.open(answer) {
            Ok(_) => ApiResult::Assessed {
                assessment: Assessment::Ticket { valid: true },
                provider_code: 0,
            },
            Err(result)
                if answer.is_success() && result.provider_code() == Some(VERIFICATION_FAILED) =>
            {
                ApiResult::Assessed {
                    assessment: Assessment::Ticket { valid: false },
                    provider_code: VERIFICATION_FAILED,
                }
            }
            Err(result) => result,
        }
    }

    fn answer_of_code(&self, provider_code: i64) -> String {
        answer_of_code(provider_code)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::*;
    use super::*;

    fn ticket(valid: bool, provider_code: i64) -> ApiResult {
        ApiResult::Assessed { assessment: Assessment::Ticket { valid }, provider_code }
    }

    #[test]
    fn the_ticket_is_sent_like_a_query_and_not_stored() {
        let registry = api(REGISTRATION.name, "");
        let claim = claim(json!({ "kind": "captcha_check" }));
        assert_eq!(fault_of(&registry, &claim), None);
        let request = only(&registry).request(&claim, &ATTEMPT);
        let sent = wire(&request);
        assert!(sent.contains(&("Action".to_owned(), "CaptchaCheck".to_owned())));
        assert!(sent.contains(&("ticket".to_owned(), "ticket+1".to_owned())));
        assert!(!sent.iter().any(|(name, _)| name == "script"));
        assert!(request.redacted.contains("&ticket=***&"));
        let query = api("captcha_query", "");
        let of_query = wire(&only(&query).request(&claim, &ATTEMPT));
        for name in ["userIp", "businessId", "captchaType", "uid", "sceneId", "registerTime"] {
            let value = |sent: &[(String, String)]| {
                sent.iter().find(|(key, _)| key == name).cloned().unwrap()
            };
            assert_eq!(value(&sent), value(&of_query));
        }
    }

    #[test]
    fn a_claim_without_a_ticket_is_malformed() {
        let registry = api(REGISTRATION.name, "");
        let claim = claim(json!({ "kind": "captcha_check", "captcha": { "ticket": "" } }));
        assert_eq!(
            fault_of(&registry, &claim),
            Some(("missing_field", "captcha.ticket".to_owned()))
        );
    }

    #[test]
    fn a_late_ticket_refusal_does_not_reject_the_user() {
        let registry = api(REGISTRATION.name, "");
        let (api, claim) = (only(&registry), claim(json!({ "kind": "captcha_check" })));
        let at = claim.claimed_at;
        assert_eq!(api.ask_until(&claim), Some(at + 20 * 60));
        let late = |valid, asked_at| api.is_late(&claim, &Assessment::Ticket { valid }, asked_at);
        assert_eq!(
            [late(false, at - 9), late(false, at + 120), late(false, at + 121)],
            [false, false, true]
        );
        assert!(!late(true, at + 1_199), "a ticket that passes is good");
        let shorter = super::super::testing::api(REGISTRATION.name, "ticket_lifetime = '10s'");
        assert_eq!(only(&shorter).ask_until(&claim), Some(at + 10));
        let none = format!("{CREDENTIALS}\n[risk.captcha_check]\nticket_lifetime = '0s'");
        assert_eq!(
            super::super::testing::registry(&none).err().map(|fault| fault.key).as_deref(),
            Some("risk.captcha_check.ticket_lifetime")
        );
    }

    #[test]
    fn a_ticket_is_judged_by_the_code_alone_and_5100_is_a_verdict() {
        let registry = api(REGISTRATION.name, "");
        readings(
            only(&registry),
            REGISTRATION.name,
            &[
                ("document_sample.json", ticket(true, 0)),
                ("verification_failed.json", ticket(false, 5100)),
                ("verification_failed_as_text.json", ticket(false, 5100)),
                ("is_right_without_code.json", malformed()),
                ("error_6000.json", transient("internal_error", 6000)),
                ("error_4000.json", unassessable("bad_parameter", 4000)),
                ("html.html", malformed()),
            ],
        );
        assert_eq!(only(&registry).registration().max_attempts, Some(2));
    }

    #[test]
    fn a_5100_with_an_http_status_other_than_2xx_is_no_verdict() {
        let registry = api(REGISTRATION.name, "");
        let reading = |status| read(only(&registry), status, r#"{"code":5100}"#);
        assert_eq!([200, 299].map(reading), [ticket(false, 5100), ticket(false, 5100)]);
        for status in [199, 300, 400, 403, 404] {
            assert_eq!(reading(status), transient("operation_failed", 5100), "{status}");
        }
    }

    #[test]
    fn code_5100_is_a_verdict_even_if_listed_as_transient() {
        let credentials = CREDENTIALS.replace("[4, ", "[5100, ");
        let registry = registry(&format!("{credentials}\n[risk.captcha_check]")).unwrap();
        assert_eq!(read(only(&registry), 200, r#"{"code":5100}"#), ticket(false, 5100));
    }
}
