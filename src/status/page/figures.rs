//! The worker's own figures: the report of `claimgate status`, without the network.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::status::asked::Asked;
use crate::status::report::StatusReport;
use crate::status::samples::Samples;
use crate::telemetry::Health;

/// Rates are computed from two samples that are at least this far apart, if there are such. A
/// sample that another viewer caused a moment ago would say little.
const APART: Duration = Duration::from_secs(2);
/// An older sample says nothing about the present.
const OLDEST_LOOK: Duration = Duration::from_secs(60);

/// The worker's figures.
pub(super) struct Figures {
    health: Health,
    prometheus: PrometheusHandle,
    looks: Mutex<Looks>,
}

impl Figures {
    pub(super) fn new(health: Health, prometheus: PrometheusHandle) -> Self {
        Self { health, prometheus, looks: Mutex::default() }
    }

    /// What happened in the last seconds. In the first call and after a long pause, rates and
    /// `seconds` are 0. Takes milliseconds of processor time: do not call it on the worker's
    /// threads.
    pub(super) fn report(&self) -> StatusReport {
        let after = self.look();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = looks.before(after.at).unwrap_or(&after);
        let both = [before, &after].map(std::slice::from_ref);
        let report = StatusReport::of(both[0], both[1], OffsetDateTime::now_utc());
        looks.0.push_back(after);
        report
    }

    fn look(&self) -> Asked {
        let metrics = Samples::parse(&self.prometheus.render());
        Asked {
            url: "this worker".to_owned(),
            at: Instant::now(),
            ready: self.health.live().and_then(|()| self.health.ready()),
            metrics: metrics.map_err(|error| error.to_string()),
        }
    }
}

/// The earlier samples, the oldest first. All viewers share them: the rates that one viewer sees do
/// not depend on when another one looked.
#[derive(Default)]
struct Looks(VecDeque<Asked>);

impl Looks {
    /// The sample to compare with. Drops samples that are no longer needed.
    fn before(&mut self, now: Instant) -> Option<&Asked> {
        let age = |look: &Asked| now.saturating_duration_since(look.at);
        while self.0.front().is_some_and(|look| age(look) > OLDEST_LOOK)
            || self.0.get(1).is_some_and(|look| age(look) >= APART)
        {
            self.0.pop_front();
        }
        self.0.front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The milliseconds between each of these samples and the one that it is compared with.
    fn compared(looks_at: &[u64]) -> Vec<Option<u128>> {
        let (start, mut looks) = (Instant::now(), Looks::default());
        let look = |at: &u64| {
            let at = start + Duration::from_millis(*at);
            let before = looks.before(at).map(|before| at - before.at);
            let (url, metrics) = (String::new(), Err(String::new()));
            looks.0.push_back(Asked { url, at, ready: Ok(()), metrics });
            before.map(|time| time.as_millis())
        };
        looks_at.iter().map(look).collect()
    }

    #[test]
    fn a_viewer_takes_nothing_from_another() {
        let alone = compared(&[0, 2_100, 4_200]);
        assert_eq!(alone, [None, Some(2_100), Some(2_100)]);
        let two = compared(&[0, 1_000, 2_100, 3_100, 4_200, 5_200]);
        let apart = [None, Some(1_000), Some(2_100), Some(2_100), Some(2_100), Some(2_100)];
        assert_eq!(two, apart);
        assert_eq!(compared(&[0, 15_000, 30_000]), [None, Some(15_000), Some(15_000)]);
        assert_eq!(compared(&[0, 61_000, 62_000]), [None, None, Some(1_000)]);
    }
}
