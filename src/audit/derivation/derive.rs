//! Derives a decision from the evidence of a claim, and compares it with the verdict. Pure.
//!
//! The API's own [`crate::risk::RiskApi::read`] reads the deciding answer again, a policy rules on
//! it, and the event is parsed again. Every column of the verdict that follows from these is
//! compared.

use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

use super::deciding::{answer_of, deciding, was_assessed};
use crate::audit::KeptPolicy;
use crate::audit::report::shown::{optional, reasons};
use crate::claim::{Claim, SubjectKeys};
use crate::decision::{Assessment, Policy, Ruling};
use crate::risk::{ApiResult, Registry, rule, rule_unassessed};
use crate::schema::{Call, EventRow, Verdict};

/// How the sentence about a row begins that cannot be decrypted.
pub(super) const UNDECRYPTABLE: &str = "some of its evidence cannot be decrypted here";

/// What is needed to read evidence.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The risk APIs.
    pub registry: &'a Registry,
    /// The policy that rules.
    pub policy: &'a Policy,
    /// The former policies by their versions, as far as they are kept.
    pub kept: &'a HashMap<String, KeptPolicy>,
    /// The keys of `verdicts.subject`.
    pub subject_keys: &'a SubjectKeys,
}

/// The evidence that is kept for one claim.
pub(super) struct Evidence<'a> {
    pub(super) verdict: &'a Verdict,
    /// The attempts, oldest first.
    pub(super) calls: &'a [Call],
    pub(super) events: &'a [EventRow],
    /// Why some of these cannot be decrypted here, one sentence each: they lack what is encrypted.
    pub(super) undecryptable: &'a [String],
    /// Verdicts from before this time, UNIX microseconds, may have lost attempts to retention. Read
    /// after the rows.
    pub(super) attempts_lost_before: Option<i64>,
}

impl<'a> Evidence<'a> {
    /// The event that the verdict rests on.
    pub(super) fn event(&self) -> Option<&'a EventRow> {
        self.events.iter().find(|event| event.source == self.verdict.source)
    }
}

/// Whether some of the verdict's attempts are kept and others are not. There may be more attempts
/// than the verdict counts: it does not count those of a worker that was killed.
pub(super) fn lacks_attempts(verdict: &Verdict, kept: usize) -> bool {
    (1..usize::try_from(verdict.attempts).unwrap_or(usize::MAX)).contains(&kept)
}

/// A column of a verdict that does not follow from the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its name in `verdicts`.
    pub column: &'static str,
    /// The value in the verdict.
    pub recorded: String,
    /// What follows from the evidence.
    pub derived: String,
}

/// Whether a verdict follows from its evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// It follows from its evidence.
    Same,
    /// It follows from its evidence under the policy that decided, but not under this one.
    Drifted,
    /// It does not follow from its evidence.
    Differs,
    /// Part of the evidence is not kept, or cannot be read here.
    Unverifiable,
}

/// What the evidence leads to.
#[derive(Debug, Default)]
pub(super) struct Derivation {
    /// `None` if no answer can be read.
    pub(super) ruling: Option<Ruling>,
    /// The attempt whose answer was read.
    pub(super) call: Option<Uuid>,
    pub(super) differences: Vec<Difference>,
    /// Whether the policy that the verdict names is kept and leads to something else as well, or
    /// never decided.
    pub(super) never_followed: bool,
    /// Missing or unreadable evidence: one sentence each.
    pub(super) missing: Vec<String>,
}

/// What the deciding answer leads to.
struct Derived {
    ruling: Ruling,
    assessment: Option<Assessment>,
    provider_code: Option<i64>,
    call: Option<Uuid>,
}

impl Reader<'_> {
    /// Derives a verdict from its evidence.
    pub(super) fn derive(&self, evidence: &Evidence<'_>) -> Derivation {
        let mut derivation = Derivation::default();
        let verdict = evidence.verdict;
        match self.answer(evidence, self.policy) {
            Ok(derived) => {
                let is_so = |ruling: &Ruling| {
                    ruling.decision == verdict.decision && ruling.reasons == verdict.reasons
                };
                if !is_so(&derived.ruling)
                    && let Some(KeptPolicy { policy, has_decided }) =
                        self.kept.get(&verdict.policy_version)
                {
                    let follows =
                        || self.answer(evidence, policy).is_ok_and(|then| is_so(&then.ruling));
                    derivation.never_followed = !(*has_decided && follows());
                }
                derivation.compare_answer(verdict, derived);
            }
            Err(why) => derivation.missing.push(why),
        }
        let undecryptable = evidence.undecryptable;
        derivation
            .missing
            .extend(undecryptable.iter().map(|why| format!("{UNDECRYPTABLE}: {why}")));
        match evidence.event() {
            // A claim's event is never empty.
            Some(EventRow { payload: None, .. }) if !undecryptable.is_empty() => {}
            Some(event) => self.compare_event(&mut derivation, verdict, event),
            None => derivation.missing.push("its event is not kept any more".to_owned()),
        }
        if lacks_attempts(verdict, evidence.calls.len()) {
            let is_lost = |before| verdict.decided_at < before;
            if evidence.attempts_lost_before.is_some_and(is_lost) {
                derivation.missing.push("some of its attempts are not kept any more".to_owned());
            } else {
                let kept = format!("{} are kept", evidence.calls.len());
                derivation.note("attempts", verdict.attempts, kept);
            }
        }
        derivation
    }

    /// Reads the deciding answer and rules on it, or says why there is none to read.
    fn answer(&self, evidence: &Evidence<'_>, policy: &Policy) -> Result<Derived, String> {
        let Evidence { verdict, calls, .. } = evidence;
        let unassessed = verdict.reasons.iter().find(|reason| reason.code == "unassessed");
        if let Some(reason) = unassessed
            && !was_assessed(self.registry, evidence)
        {
            let (name, value) = (reason.name.as_deref().unwrap_or_default(), reason.value);
            let ruling = rule_unassessed(policy, name, value);
            return Ok(Derived { ruling, assessment: None, provider_code: value, call: None });
        }
        let id = self
            .registry
            .find(&verdict.api)
            .ok_or_else(|| format!("the API {} is not configured here", verdict.api))?;
        let api = self.registry.get(id).api.as_ref();
        let (schema, recorded) = (api.schema(), &verdict.api_schema);
        if schema != *recorded {
            let name = api.name();
            return Err(format!(
                "the API {name} is configured with schema {schema}, and the verdict rests on \
                 {recorded}"
            ));
        }
        let call = deciding(verdict, calls);
        let call = call.ok_or("the answer that decided is not kept any more")?;
        let answer = answer_of(call).ok_or("the attempt that decided has no answer to read")?;
        let result = api.read(&answer);
        let ruling = rule(policy, api, &result).ok_or_else(|| {
            let reason = result.fault().map(|fault| fault.reason.as_str()).unwrap_or_default();
            format!(
                "the answer of attempt {} is no longer read as an assessment: {reason}",
                call.id
            )
        })?;
        let provider_code = result.provider_code();
        let assessment = match result {
            ApiResult::Assessed { assessment, .. } => Some(assessment),
            _ => None,
        };
        Ok(Derived { ruling, assessment, provider_code, call: Some(call.id) })
    }

    fn compare_event(&self, derivation: &mut Derivation, verdict: &Verdict, event: &EventRow) {
        let recorded = hex::encode(verdict.fingerprint);
        let claim = match Claim::parse(event.payload.as_deref(), usize::MAX) {
            Ok(claim) => claim,
            Err(malformed) => {
                let derived = format!("the event is not a valid claim: {}", malformed.detail);
                return derivation.note("fingerprint", recorded, derived);
            }
        };
        let (kind, id) = claim.subject();
        let mut subjects = self.subject_keys.each(|key| key.subject(kind.as_str(), id));
        let known = subjects.iter().position(|subject| *subject == verdict.subject);
        let subject = subjects.swap_remove(known.unwrap_or_default());
        derivation.compare("claim_id", &verdict.claim_id, &claim.claim_id);
        derivation.compare("kind", &verdict.kind, &claim.kind);
        derivation.compare("claimed_at", &verdict.claimed_at, &claim.claimed_at);
        derivation.compare("subject", &verdict.subject, &subject);
        derivation.compare("fingerprint", &recorded, &hex::encode(claim.fingerprint()));
    }
}

impl Derivation {
    fn compare_answer(&mut self, verdict: &Verdict, derived: Derived) {
        let (level, risk_types, challenge) =
            derived.assessment.map(Assessment::kept).unwrap_or_default();
        let ruling = derived.ruling;
        self.compare("decision", &verdict.decision.as_str(), &ruling.decision.as_str());
        if verdict.reasons != ruling.reasons {
            self.note("reasons", reasons(&verdict.reasons), reasons(&ruling.reasons));
        }
        self.compare("level", &optional(verdict.level), &optional(level));
        if verdict.risk_types != risk_types {
            self.note("risk_types", format!("{:?}", verdict.risk_types), format!("{risk_types:?}"));
        }
        let (recorded, code) = (optional(verdict.provider_code), optional(derived.provider_code));
        self.compare("provider_code", &recorded, &code);
        let recorded = optional(verdict.challenge.as_ref());
        self.compare("challenge", &recorded, &optional(challenge));
        self.ruling = Some(ruling);
        self.call = derived.call;
    }

    fn compare<T: PartialEq + ToString>(
        &mut self,
        column: &'static str,
        recorded: &T,
        derived: &T,
    ) {
        if recorded != derived {
            self.note(column, recorded.to_string(), derived.to_string());
        }
    }

    fn note(&mut self, column: &'static str, recorded: impl ToString, derived: impl ToString) {
        let (recorded, derived) = (recorded.to_string(), derived.to_string());
        self.differences.push(Difference { column, recorded, derived });
    }

    /// How the verdict compares with the derived one. `is_other_policy`: another policy than this
    /// one decided.
    pub(super) fn finding(&self, is_other_policy: bool) -> Agreement {
        let by_policy = |difference: &Difference| {
            is_other_policy
                && !self.never_followed
                && matches!(difference.column, "decision" | "reasons")
        };
        if !self.differences.iter().all(by_policy) {
            Agreement::Differs
        } else if !self.differences.is_empty() {
            Agreement::Drifted
        } else if !self.missing.is_empty() {
            Agreement::Unverifiable
        } else {
            Agreement::Same
        }
    }
}
