//! Plans one call: combines the account's words, the random faults and the API's own refusal. Pure.
//!
//! The order: an API that is down, faults of the network and the gateway, what is wrong with the
//! request itself, what the account's words ask for, a random transient code, and at last a
//! verdict.

use std::borrow::Cow;
use std::time::Duration;

use super::api::Api;
use super::faults::ApiFaults;
use super::injected::Fault;
use super::script::Script;
use super::trouble::{Shape, Silence};
use super::verdicts::{self, Verdict};

/// An API's own error: a code and a message that names what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) message: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a call is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// The API's verdict on the account.
    Verdict(Verdict),
    /// A provider code.
    Refused(Refusal),
    /// An HTTP status of some gateway, and perhaps `Retry-After`.
    Status(u16, Option<u64>),
    /// Nothing, for as long as the client waits.
    Hang,
    /// A reset connection.
    Reset,
}

/// The plan of a call: its answer, the form of the answer, and the delay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) course: Course,
    pub(super) shape: Shape,
    pub(super) delay: Duration,
    /// The account's words dictate the verdict.
    pub(super) dictated: bool,
}

/// Plans the account's `number`th call (from 1). `refusal` is the API's error about the request, if
/// any.
pub(super) fn plan(
    api: Api,
    account: &str,
    number: u32,
    refusal: Option<Refusal>,
    faults: &ApiFaults,
    seed: u64,
) -> Plan {
    let key =
        [&seed.to_le_bytes()[..], api.name().as_bytes(), account.as_bytes(), &number.to_le_bytes()];
    let (fault, latency) = faults.draw(api, verdicts::hash(&key));
    let script = Script::read(account);
    let trouble = script.trouble(number, api.transient_code());
    let mut plan = Plan {
        course: Course::Reset,
        shape: trouble.shape,
        delay: latency + trouble.slow,
        dictated: script.has_verdict(),
    };
    if faults.down {
        return Plan { delay: Duration::ZERO, ..plan };
    }
    plan.course = match (fault, refusal) {
        (Fault::Hang, _) => Course::Hang,
        (Fault::Reset, _) => Course::Reset,
        (Fault::Status(status, retry_after), _) => Course::Status(status, retry_after),
        (_, Some(refusal)) => Course::Refused(refusal),
        (fault, None) => {
            if let Fault::Malformed(shape) = fault {
                plan.shape = shape;
            }
            match (trouble.silence, trouble.status, trouble.code, fault) {
                (Some(Silence::Hang), ..) => Course::Hang,
                (Some(Silence::Reset), ..) => Course::Reset,
                (_, Some(status), ..) => {
                    Course::Status(status, (status == 429).then_some(faults.retry_after))
                }
                (_, _, Some(code), _) | (_, _, _, Fault::Code(code)) => {
                    Course::Refused(Refusal::new(code, "internal error, please retry later"))
                }
                _ => Course::Verdict(verdicts::verdict(api, account, &script)),
            }
        }
    };
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(account: &str, number: u32, refusal: Option<Refusal>, faults: &ApiFaults) -> Course {
        plan(Api::IntelligentQrCode, account, number, refusal, faults, 1).course
    }

    #[test]
    fn a_bad_request_is_refused_whatever_the_account_says() {
        let refusal = Refusal::new(4100, "signature");
        for account in ["u", "level-3", "code-6000", "hang", "html"] {
            let course = course(account, 1, Some(refusal.clone()), &ApiFaults::default());
            assert_eq!(course, Course::Refused(refusal.clone()));
        }
    }

    #[test]
    fn an_api_that_is_down_resets_everything() {
        let faults = ApiFaults { down: true, ..ApiFaults::default() };
        assert_eq!(course("level-3", 1, None, &faults), Course::Reset);
        assert_eq!(course("u", 1, Some(Refusal::new(4000, "")), &faults), Course::Reset);
    }

    #[test]
    fn random_faults_come_on_top_of_words_and_repeat_by_seed() {
        let faults = ApiFaults { transient: 1.0, transient_codes: vec![7], ..ApiFaults::default() };
        assert!(matches!(
            course("level-3", 1, None, &faults),
            Course::Refused(Refusal { code: 7, .. })
        ));
        assert!(matches!(
            course("code-9", 1, None, &faults),
            Course::Refused(Refusal { code: 9, .. })
        ));
        let half = ApiFaults { transient: 0.5, ..ApiFaults::default() };
        let run = |seed| {
            (0..64).map(|n| plan(Api::MiniProgram, "u", n, None, &half, seed)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
