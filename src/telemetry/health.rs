//! Whether the worker is alive and whether it is ready.
//!
//! Owns the heartbeat and the last reported state of each component. The worker reports both; this
//! module asks no component. The invariant: a reader never waits for the worker.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What must be well for the worker to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Postgres answers.
    Store,
    /// Kafka answers.
    Broker,
    /// The worker is a member of its consumer group. A member without a partition counts as ready.
    Group,
}

impl Component {
    /// Every component.
    pub const ALL: [Self; 3] = [Self::Store, Self::Broker, Self::Group];

    fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Broker => "broker",
            Self::Group => "group",
        }
    }
}

/// A handle on the worker's health, shared by the worker and the endpoints.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Milliseconds from `started` to the last beat.
    beat: AtomicU64,
    stale_after: Duration,
    /// By [`Component`]: `Err` is one sentence that says why it is not ready.
    components: Mutex<[Result<(), String>; 3]>,
}

impl Health {
    /// Alive until `stale_after` has passed without a [beat](Self::beat); not ready until every
    /// component says it is.
    pub fn new(stale_after: Duration) -> Self {
        let components = Mutex::new(array::from_fn(|_| Err("it has not answered yet".to_owned())));
        let shared =
            Shared { started: Instant::now(), beat: AtomicU64::new(0), stale_after, components };
        Self { shared: Arc::new(shared) }
    }

    /// The worker's loop made progress.
    pub fn beat(&self) {
        self.shared.beat.store(millis(self.shared.started.elapsed()), Ordering::Relaxed);
    }

    /// A component is ready, or is not, and why.
    pub fn set_ready(&self, component: Component, ready: Result<(), String>) {
        self.shared.components.lock().unwrap_or_else(PoisonError::into_inner)[component as usize] =
            ready;
    }

    /// Whether the worker's loop has made progress within `stale_after`.
    ///
    /// # Errors
    /// One sentence that says for how long it made none.
    pub fn live(&self) -> Result<(), String> {
        let last = Duration::from_millis(self.shared.beat.load(Ordering::Relaxed));
        let silent = self.shared.started.elapsed().saturating_sub(last);
        let bound = self.shared.stale_after;
        if silent <= bound {
            return Ok(());
        }
        Err(format!(
            "the worker made no progress for {} s; the bound is {} s",
            silent.as_secs(),
            bound.as_secs_f64()
        ))
    }

    /// Whether every component is ready.
    ///
    /// # Errors
    /// One sentence that names the first component that is not ready, and says why.
    pub fn ready(&self) -> Result<(), String> {
        let components = self.shared.components.lock().unwrap_or_else(PoisonError::into_inner);
        for (component, ready) in Component::ALL.into_iter().zip(components.iter()) {
            ready.as_ref().map_err(|why| format!("{} is not ready: {why}", component.as_str()))?;
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_is_not_alive() {
        let health = Health::new(Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(health.live(), Ok(()));
        tokio::time::advance(Duration::from_secs(2)).await;
        let why = health.live().expect_err("12 seconds of silence");
        assert_eq!(why, "the worker made no progress for 12 s; the bound is 10 s");
        health.beat();
        assert_eq!(health.live(), Ok(()));
    }

    #[tokio::test]
    async fn ready_is_when_every_component_is() {
        let health = Health::new(Duration::from_secs(10));
        assert_eq!(health.ready(), Err("store is not ready: it has not answered yet".to_owned()));
        Component::ALL.into_iter().for_each(|component| health.set_ready(component, Ok(())));
        assert_eq!(health.ready(), Ok(()));
        health.set_ready(Component::Group, Err("the worker is draining".to_owned()));
        assert_eq!(health.ready(), Err("group is not ready: the worker is draining".to_owned()));
    }
}
