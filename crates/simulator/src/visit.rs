//! A call that is being served: its entry in the log, and its answer.

use std::sync::Arc;
use std::time::Duration;

use super::api::Api;
use super::call::{Call, Outcome};
use super::plan::{Course, Plan, Refusal, plan};
use super::reply::{HTML, Reply, Sending, shaped};
use super::state::State;

/// The facts of a call that the log keeps.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) caller: &'a str,
    pub(super) api: Api,
    pub(super) account: &'a str,
    pub(super) claim: &'a str,
    pub(super) nonce: Option<u64>,
    pub(super) timestamp: Option<i64>,
}

/// A call that is being served; in flight until dropped.
pub(super) struct Visit {
    state: Arc<State>,
    api: Api,
    account: Box<str>,
    number: u32,
}

/// An answer that is decided and entered, but not sent yet.
pub(super) struct Exchange {
    pub(super) sending: Sending,
    pub(super) delay: Duration,
    pub(super) visit: Option<Visit>,
}

impl From<Reply> for Exchange {
    fn from(reply: Reply) -> Self {
        Self { sending: Sending::Reply(reply), delay: Duration::ZERO, visit: None }
    }
}

impl State {
    /// A call comes in. Returns its plan.
    pub(super) fn open(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        refusal: Option<Refusal>,
    ) -> (Plan, Visit) {
        let number = self.calls.arrive(asked.api, asked.account);
        let visit = Visit {
            state: Arc::clone(self),
            api: asked.api,
            account: asked.account.into(),
            number,
        };
        let faults = self.faults();
        let plan = plan(
            asked.api,
            asked.account,
            number,
            refusal,
            faults.of(asked.api),
            self.options.seed,
        );
        (plan, visit)
    }

    /// The answer is decided. `reply` is the API's form of it, if the API answers itself.
    pub(super) fn close(
        &self,
        asked: &Asked<'_>,
        plan: Plan,
        visit: Visit,
        reply: Reply,
    ) -> Exchange {
        let (sending, outcome) = match &plan.course {
            Course::Hang => (Sending::Hang, Outcome::Hang),
            Course::Reset => (Sending::Reset, Outcome::Reset),
            Course::Status(status, retry_after) => {
                let page = format!(
                    "<html><body><h1>{status}</h1>a gateway's answer, not the API's</body></html>"
                );
                let reply = Reply { retry_after: *retry_after, ..Reply::new(*status, HTML, page) };
                (Sending::Reply(reply), Outcome::HttpStatus)
            }
            Course::Verdict(_) if !plan.shape.is_readable() => {
                (shaped(reply, plan.shape), Outcome::Malformed)
            }
            Course::Verdict(_) => (shaped(reply, plan.shape), Outcome::Answered),
            Course::Refused(_) => (Sending::Reply(reply), Outcome::ErrorCode),
        };
        let (code, level) = match (&plan.course, outcome) {
            (Course::Verdict(verdict), Outcome::Answered) => {
                (Some(0), asked.api.has_level().then_some(verdict.level))
            }
            (Course::Refused(refusal), _) => (Some(refusal.code), None),
            _ => (None, None),
        };
        self.calls.enter(Call {
            sequence: 0,
            at_ms: unix_ms(),
            caller: asked.caller.into(),
            api: asked.api,
            account: asked.account.into(),
            claim: asked.claim.into(),
            number: visit.number,
            nonce: asked.nonce,
            timestamp: asked.timestamp,
            outcome,
            code,
            level,
            http_status: if let Sending::Reply(reply) = &sending {
                Some(reply.status)
            } else {
                None
            },
        });
        Exchange { sending, delay: plan.delay, visit: Some(visit) }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.state.calls.leave(self.api, &self.account);
    }
}

fn unix_ms() -> i64 {
    let now = time::OffsetDateTime::now_utc();
    now.unix_timestamp() * 1000 + i64::from(now.millisecond())
}
