//! What the worker says of itself: the report of `claimgate status`, without a way over the network.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::status::asked::Asked;
use crate::status::report::StatusReport;
use crate::status::samples::Samples;
use crate::telemetry::Health;

/// A look that is older says nothing of now.
const OLDEST_LOOK: Duration = Duration::from_secs(10);

/// The worker's figures.
pub(super) struct Figures {
    health: Health,
    prometheus: PrometheusHandle,
    /// The look before: rates are made of two.
    last: Mutex<Option<Asked>>,
}

impl Figures {
    pub(super) fn new(health: Health, prometheus: PrometheusHandle) -> Self {
        Self { health, prometheus, last: Mutex::default() }
    }

    /// What happened since the last call. Rates are 0 in the first one, and after a long pause:
    /// then `seconds` is 0, too. Takes milliseconds: not for the worker's threads.
    pub(super) fn report(&self) -> StatusReport {
        let after = self.look();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.take().filter(|before| before.at.elapsed() < OLDEST_LOOK);
        let before = before.as_ref().unwrap_or(&after);
        let both = [before, &after].map(std::slice::from_ref);
        let report = StatusReport::of(both[0], both[1], OffsetDateTime::now_utc());
        *last = Some(after);
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
