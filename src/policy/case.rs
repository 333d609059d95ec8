//! One example: what an API answered, and the decision that is expected. Pure.

use serde::Deserialize;

use crate::decision::{Assessment, Decision, Reason};
use crate::risk::{Answer, ApiId, ApiResult, FaultReason, Registry, Route};

/// The word for a claim that gets no decision, because the API is called again.
pub(super) const NO_DECISION: &str = "none";

/// A `[[case]]` as it is in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    name: String,
    api: Option<String>,
    kind: Option<String>,
    level: Option<u8>,
    #[serde(default)]
    risk_types: Vec<i32>,
    ticket: Option<Ticket>,
    script: Option<String>,
    provider_code: Option<i64>,
    answer: Option<String>,
    status: Option<u16>,
    unassessed: Option<String>,
    decision: String,
    reasons: Option<Vec<String>>,
}

/// What the captcha API said about the user's ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ticket {
    Valid,
    Invalid,
}

/// A valid example.
#[derive(Debug)]
pub struct Case {
    /// Its name in the file.
    pub(super) name: String,
    pub(super) api: ApiId,
    pub(super) given: Given,
    /// `None`: no decision, the API is called again.
    pub(super) decision: Option<Decision>,
    /// One for each reason; `None`: any reasons.
    pub(super) reasons: Option<Vec<String>>,
}

/// What is known of the claim.
#[derive(Debug)]
pub(super) enum Given {
    /// What an answer says.
    Read(ApiResult),
    /// No API assessed it in time: why, and the code of the last answer.
    Unassessed(FaultReason, Option<i64>),
}

impl Written {
    /// Checks the case and makes an example of it.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub(super) fn understand(self, registry: &Registry) -> Result<Case, String> {
        let api = self.find(registry)?;
        let given = self.given(registry.get(api))?;
        let decision = match Decision::from_word(&self.decision) {
            None if self.decision == NO_DECISION => None,
            None => {
                let known = Decision::ALL.map(Decision::as_str).join(", ");
                let given = &self.decision;
                return Err(format!(
                    "decision: {given:?} is not a decision; there are {known}, {NO_DECISION}"
                ));
            }
            decision => decision,
        };
        Ok(Case { name: self.name, api, given, decision, reasons: self.reasons })
    }

    fn find(&self, registry: &Registry) -> Result<ApiId, String> {
        let (key, name, found) = match (&self.api, &self.kind) {
            (Some(api), None) => ("api", api, registry.find(api)),
            (None, Some(kind)) => {
                let mut kinds = registry.kinds();
                ("kind", kind, kinds.find(|(known, _)| known == kind).map(|(_, id)| id))
            }
            _ => return Err("api, kind: one of them must be given".to_owned()),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = match key {
                "api" => registry.iter().map(|(_, route)| route.api.name()).collect(),
                _ => registry.kinds().map(|(kind, _)| kind).collect(),
            };
            format!("{key}: {name:?} is not served; there are {}", known.join(", "))
        })
    }

    fn given(&self, route: &Route) -> Result<Given, String> {
        let is_given = [
            ("level", self.level.is_some()),
            ("ticket", self.ticket.is_some()),
            ("script", self.script.is_some()),
            ("answer", self.answer.is_some()),
            ("unassessed", self.unassessed.is_some()),
            // Together with `unassessed`, it is the code of the last answer.
            ("provider_code", self.provider_code.is_some() && self.unassessed.is_none()),
        ];
        if is_given.iter().filter(|(_, given)| *given).count() != 1 {
            let keys = is_given.map(|(key, _)| key).join(", ");
            return Err(format!("{keys}: one of them must be given"));
        }
        if self.level.is_none() && !self.risk_types.is_empty() {
            return Err("risk_types: these need a level".to_owned());
        }
        if self.status.is_some() && self.answer.is_none() {
            return Err("status: this needs an answer".to_owned());
        }
        let (api, assessed) = (route.api.as_ref(), |assessment| {
            Given::Read(ApiResult::Assessed { assessment, provider_code: 0 })
        });
        if let Some(level) = self.level {
            self.check_level(level, route)?;
            let risk_types = self.risk_types.clone();
            return Ok(assessed(Assessment::Level { level, risk_types }));
        }
        if let Some(ticket) = self.ticket {
            return Ok(assessed(Assessment::Ticket { valid: ticket == Ticket::Valid }));
        }
        if let Some(script) = &self.script {
            return Ok(assessed(Assessment::Challenge { script: script.clone() }));
        }
        if let Some(word) = &self.unassessed {
            let reason = FaultReason::from_word(word).ok_or_else(|| {
                format!("unassessed: {word:?} is not a reason; docs/risk-apis.md lists them")
            })?;
            return Ok(Given::Unassessed(reason, self.provider_code));
        }
        let of_code = self.provider_code.map(|code| api.answer_of_code(code));
        let body =
            self.answer.as_ref().or(of_code.as_ref()).map_or(&[][..], |body| body.as_bytes());
        let answer = Answer { status: self.status.unwrap_or(200), body };
        Ok(Given::Read(api.read_any(&answer)))
    }

    /// The readers of answers accept no other level.
    fn check_level(&self, level: u8, route: &Route) -> Result<(), String> {
        let name = route.api.name();
        match route.api.registration().highest_level() {
            None => Err(format!("level: {name} gives no level")),
            Some(highest) if level > highest => {
                Err(format!("level: the highest that {name} gives is {highest}"))
            }
            Some(_) => Ok(()),
        }
    }
}

/// Whether a reason matches the text of an example: `level`, `level 2`,
/// `risk_type 101 batch_operation` or `unassessed no_room`.
pub(super) fn is_reason(written: &str, reason: &Reason) -> bool {
    let mut words = written.split_whitespace().peekable();
    let is_code = words.next() == Some(&reason.code);
    let value: Option<i64> = words.peek().and_then(|word| word.parse().ok());
    if value.is_some() {
        words.next();
    }
    is_code
        && (value.is_none() || value == reason.value)
        && words.next().is_none_or(|name| Some(name) == reason.name.as_deref())
        && words.next().is_none()
}
