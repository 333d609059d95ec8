//! What a worker is built from, and why it may end.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinError;

use super::Clock;
use crate::assess::exchange::Http;
use crate::assess::{breaker, retry};
use crate::claim::SubjectKey;
use crate::decision::Policies;
use crate::intake::Intake;
use crate::intake::flood;
use crate::outbox::{Publisher, Store};
use crate::risk::Registry;
use crate::telemetry::{Health, Meter, Spans};
use crate::{config, kafka};

/// The types of the outside systems: the real ones, or fakes for tests.
pub trait Ports {
    /// Where records come from.
    type Intake: Intake;
    /// Where verdicts are kept.
    type Store: Store + 'static;
    /// Where decisions go.
    type Publisher: Publisher + 'static;
    /// How risk APIs are reached.
    type Http: Http;
}

/// The outside systems.
#[derive(Debug)]
pub struct Connections<P: Ports> {
    /// Where records come from.
    pub intake: P::Intake,
    /// Where verdicts are kept.
    pub store: Arc<P::Store>,
    /// Where decisions go.
    pub publisher: Arc<P::Publisher>,
    /// How risk APIs are reached.
    pub http: P::Http,
}

/// Settings and helpers of the worker.
pub struct WorkerContext {
    /// `[kafka]`, for the names of topics and the bounds on messages.
    pub kafka: kafka::Settings,
    /// `[worker]`.
    pub worker: config::Worker,
    /// `[retry]`.
    pub retry: retry::Settings,
    /// `[breaker]`.
    pub breaker: breaker::Settings,
    /// `[dead_letters]`: when malformed events pause intake.
    pub flood: flood::Bounds,
    /// The risk APIs.
    pub registry: Arc<Registry>,
    /// The policy in force, and the one in shadow.
    pub policies: Policies,
    /// `audit.subject_key`.
    pub subject_key: SubjectKey,
    /// Metrics.
    pub meter: Meter,
    /// Spans.
    pub spans: Spans,
    /// `telemetry.baggage`.
    pub baggage: Vec<String>,
    /// What `/livez` and `/readyz` say.
    pub health: Health,
    /// Notified when all deferred claims are to be assessed at once.
    pub retry_now: Arc<Notify>,
    /// The time of day.
    pub clock: Clock,
    /// Nonces, jitter and new trace ids.
    pub random: fastrand::Rng,
}

/// Why the worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The consumer cannot go on.
    #[error("{0}")]
    Intake(String),
    /// Postgres refuses writes, for a reason that will not go away by itself.
    #[error("{0}")]
    Store(String),
    /// Kafka refuses messages, for a reason that will not go away by itself.
    #[error("{0}")]
    Publisher(String),
    /// A task panicked. Kafka redelivers its claims after a restart.
    #[error("a task of the worker failed: {0}")]
    Task(#[from] JoinError),
}
