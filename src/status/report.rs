//! The report: the figures, and everything that is wrong. Pure.

use serde::Serialize;
use time::OffsetDateTime;

use super::api::{ApiStatus, apis};
use super::asked::Asked;
use super::interval::Interval;
use super::worker::{Figures, WorkerStatus};

/// The state of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of them are ready, and no breaker is open.
    Well,
    /// Something is wrong.
    Wrong,
    /// Some could not be asked.
    Unasked,
}

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct StatusReport {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) at: OffsetDateTime,
    /// The interval of rates and answer times: the longest of all workers.
    pub(super) seconds: f64,
    /// In a sentence each; empty where all is well.
    pub(super) wrong: Vec<String>,
    pub(super) workers: Vec<WorkerStatus>,
    pub(super) apis: Vec<ApiStatus>,
}

impl StatusReport {
    /// Makes the report from two rounds of answers, of the same workers in the same order.
    pub(super) fn of(before: &[Asked], after: &[Asked], at: OffsetDateTime) -> Self {
        let both: Vec<_> = before.iter().zip(after).collect();
        let intervals: Vec<Option<Interval<'_>>> =
            both.iter().map(|(before, after)| interval(before, after)).collect();
        let pairs = after.iter().zip(&intervals);
        let workers: Vec<WorkerStatus> =
            pairs.map(|(asked, interval)| worker(asked, interval.as_ref())).collect();
        let known: Vec<Interval<'_>> = intervals.into_iter().flatten().collect();
        let apis = apis(&known);
        let seconds = known.iter().map(|interval| interval.seconds).fold(0.0, f64::max);
        Self { at, seconds, wrong: wrong(&workers, &apis), workers, apis }
    }

    /// The state of the workers.
    pub(super) fn end(&self) -> End {
        if self.workers.iter().any(|worker| worker.figures.is_none()) {
            End::Unasked
        } else if self.wrong.is_empty() {
            End::Well
        } else {
            End::Wrong
        }
    }
}

/// `None` if the worker does not answer now. A worker that did not answer before has no rates yet.
fn interval<'a>(before: &'a Asked, after: &'a Asked) -> Option<Interval<'a>> {
    let now = after.metrics.as_ref().ok()?;
    let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
    Some(match before.metrics.as_ref() {
        Ok(before) => Interval { before, after: now, seconds },
        Err(_) => Interval { before: now, after: now, seconds: 0.0 },
    })
}

fn worker(asked: &Asked, interval: Option<&Interval<'_>>) -> WorkerStatus {
    let url = asked.url.clone();
    let figures = interval.and_then(Figures::of);
    let foreign = "it answers, but not as a claimgate worker: claimgate_build_info is missing";
    let why = match (&asked.metrics, &figures, &asked.ready) {
        (Err(why), ..) => Some(why.clone()),
        (Ok(_), None, _) => Some(foreign.to_owned()),
        (Ok(_), Some(_), ready) => ready.as_ref().err().cloned(),
    };
    WorkerStatus { url, ready: why.is_none(), why, figures }
}

/// Everything that an operator should look at.
fn wrong(workers: &[WorkerStatus], apis: &[ApiStatus]) -> Vec<String> {
    let mut wrong = Vec::new();
    for worker in workers {
        let (url, why) = (&worker.url, worker.why.as_deref().unwrap_or_default());
        match &worker.figures {
            None => wrong.push(format!("{url} cannot be asked: {why}")),
            Some(_) if !worker.ready => wrong.push(format!("{url} is not ready: {why}")),
            Some(_) => {}
        }
        if worker.figures.as_ref().is_some_and(|figures| figures.dead_letter_flood) {
            let flood =
                "takes on nothing from the input topic, because of a flood of malformed events";
            wrong.push(format!("{url} {flood}"));
        }
    }
    for ApiStatus { api, open_breakers, denied, .. } in apis {
        let of = workers.len();
        if *denied > 0 {
            wrong.push(format!("{api} denies {denied} of {of} workers access"));
        } else if *open_breakers > 0 {
            wrong.push(format!("the breaker of {api} is open at {open_breakers} of {of} workers"));
        }
    }
    wrong
}
