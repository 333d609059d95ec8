//! `CaptchaCheck`, edition of 2016: whether the ticket that a user's answer earned is good.
//!
//! Owns the meaning of `code` here, where 5100 is a verdict and no fault. Parameters are `captcha.rs`'s, signature
//! and envelope [`super::tencent_cloud`]'s. The invariant: a ticket is judged by `code` alone (the document's own sample
//! of success carries `"is_right":0`) and is not shown more often than it passes.
//!
//! Source: Tencent Cloud 天御 "验证验证码票据", 2016.

pub use super::tencent_cloud::ApiSettings as Settings;

use super::section::{Misconfigured, Setup};
use super::tencent_cloud::{Client, Parameters};
use super::{Answer, Attempt, Reading, Registration, Request, RiskApi, captcha};
use crate::claim::{Claim, Malformed};
use crate::decision::Finding;

/// `[risk.captcha_check]`.
pub const REGISTRATION: Registration = Registration { name: "captcha_check", kind: "captcha_check", build };

/// The ticket is not good. To csec's other APIs this code means "failed, ask again".
const VERIFICATION_FAILED: i64 = 5100;
/// A good ticket passes its first two checks only (验证码问题说明); a third would reject an honest user.
const CHECKS_OF_A_TICKET: u32 = 2;

/// The API.
#[derive(Debug)]
pub struct CaptchaCheck {
    client: Client,
}

fn build(setup: &mut Setup<'_>) -> Result<Box<dyn RiskApi>, Misconfigured> {
    let settings: Settings = setup.settings()?;
    Ok(Box::new(CaptchaCheck { client: Client::new("CaptchaCheck", settings, setup)? }))
}

fn parameters(claim: &Claim) -> Parameters<'_> {
    let mut parameters = captcha::parameters(claim);
    parameters.text("ticket", "captcha.ticket", claim.captcha.ticket.as_deref());
    parameters
}

impl RiskApi for CaptchaCheck {
    fn name(&self) -> &'static str {
        REGISTRATION.name
    }

    fn schema(&self) -> &'static str {
        "2016"
    }

    fn highest_level(&self) -> Option<u8> {
        None
    }

    fn max_attempts(&self) -> Option<u32> {
        Some(CHECKS_OF_A_TICKET)
    }

    fn check(&self, claim: &Claim) -> Result<(), Malformed> {
        captcha::check(claim)?;
        if claim.captcha.ticket.is_none() {
            return Err(Malformed::missing("captcha.ticket"));
        }
        self.client.check(&parameters(claim))
    }

    fn request(&self, claim: &Claim, attempt: &Attempt<'_>) -> Request {
        self.client.request(parameters(claim), attempt)
    }

    fn read(&self, answer: &Answer<'_>) -> Reading {
        match self.client.open(answer) {
            Ok(_) => Reading::Verdict { finding: Finding::Ticket { valid: true }, provider_code: 0 },
            Err(reading) if reading.provider_code() == Some(VERIFICATION_FAILED) => Reading::Verdict {
                finding: Finding::Ticket { valid: false },
                provider_code: VERIFICATION_FAILED,
            },
            Err(reading) => reading,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::*;
    use super::*;

    fn ticket(valid: bool, provider_code: i64) -> Reading {
        Reading::Verdict { finding: Finding::Ticket { valid }, provider_code }
    }

    #[test]
    fn the_ticket_goes_with_the_parameters_of_the_query_and_stays_out_of_the_record() {
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
            let value =
                |sent: &[(String, String)]| sent.iter().find(|(key, _)| key == name).cloned().unwrap();
            assert_eq!(value(&sent), value(&of_query));
        }
    }

    #[test]
    fn a_claim_without_a_ticket_is_malformed() {
        let registry = api(REGISTRATION.name, "");
        let claim = claim(json!({ "kind": "captcha_check", "captcha": { "ticket": "" } }));
        assert_eq!(fault_of(&registry, &claim), Some(("missing_field", "captcha.ticket".to_owned())));
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
                ("error_4000.json", refused("bad_parameter", 4000)),
                ("html.html", malformed()),
            ],
        );
        assert_eq!(only(&registry).max_attempts(), Some(2));
    }

    #[test]
    fn a_5100_stays_a_verdict_though_the_operator_calls_it_transient() {
        let credentials = CREDENTIALS.replace("[4, ", "[5100, ");
        let registry = registry(&format!("{credentials}\n[risk.captcha_check]")).unwrap();
        assert_eq!(read(only(&registry), 200, r#"{"code":5100}"#), ticket(false, 5100));
    }
}
