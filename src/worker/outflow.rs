//! What is to be recorded and published, and whether Postgres takes it. Pure bookkeeping.

use tokio::time::Instant;

use super::pipeline::Pipeline;
use crate::outbox::Batch;

/// While so many ended records and attempts wait for Postgres, no more calls are made: an answer
/// must not be lost.
const UNRECORDED_MAX: usize = 4_096;
/// The same, in bytes of answers.
const UNRECORDED_MAX_BYTES: usize = 64 << 20;

/// Records on their way out.
pub(super) struct Outflow {
    /// What ended and is not recorded.
    pub(super) batch: Batch,
    /// What is being recorded, is recorded, or is being published.
    pub(super) pipeline: Pipeline,
    /// Postgres failed: it is asked again then.
    pub(super) store_rests_until: Option<Instant>,
    /// When Postgres last answered.
    pub(super) store_heard: Instant,
}

impl Outflow {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            batch: Batch::default(),
            pipeline: Pipeline::default(),
            store_rests_until: None,
            store_heard: now,
        }
    }

    /// Whether so much waits for Postgres that no more answers may come.
    pub(super) fn is_full(&self) -> bool {
        self.batch.len() >= UNRECORDED_MAX || self.batch.bytes() >= UNRECORDED_MAX_BYTES
    }

    /// Whether Postgres is left alone for now, after a failure.
    pub(super) fn store_rests(&self, now: Instant) -> bool {
        self.store_rests_until.is_some_and(|until| now < until)
    }
}
