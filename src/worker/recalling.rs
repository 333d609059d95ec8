//! Recall: a claim is looked up in the store before anybody is asked about it. One that has a verdict is not assessed again.
//!
//! One question at a time, for all that wait. It is also the sign of life by which a worker with nothing to do knows its store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::assessing::Done;
use super::{Ended, Http, Intake, Job, OUTAGE_PAUSE, Publisher, Store, Worker};
use crate::decision::Verdict;
use crate::outbox::{Disposition, Settled, StoreError};
use crate::telemetry::Component;

/// A store that was not asked anything for so long is asked for a sign of life: an idle worker would not notice that it is gone.
const PROBE_AFTER: Duration = Duration::from_secs(10);

impl<I: Intake, S: Store + 'static, P: Publisher + 'static, H: Http> Worker<I, S, P, H> {
    /// Looks the waiting claims up in the store, all in one question.
    pub(super) fn recall(&mut self, now: Instant) {
        if self.recalling
            || self.store_rests_until.is_some_and(|until| now < until)
            || (self.unrecalled.is_empty() && !self.wants_sign_of_life(now))
        {
            return;
        }
        self.recalling = true;
        let jobs = std::mem::take(&mut self.unrecalled);
        let store = Arc::clone(&self.ports.store);
        self.tasks.spawn(async move {
            let mut claim_ids: Vec<String> = jobs.iter().map(|job| job.claim.claim_id.clone()).collect();
            if claim_ids.is_empty() {
                // Nobody's id: only whether the store answers is of interest.
                claim_ids.push(String::new());
            }
            Done::Recalled(jobs, store.recall(claim_ids).await)
        });
    }

    /// Whether the store is to be asked though nobody has a question: it was silent for long, or it failed, and nothing else that
    /// waits would find out that it is well again.
    fn wants_sign_of_life(&self, now: Instant) -> bool {
        let asks = self.pipeline.is_recording() || !self.batch.is_empty();
        !asks && (self.store_rests_until.is_some() || now.duration_since(self.store_heard) >= PROBE_AFTER)
    }

    pub(super) fn after_recall(
        &mut self,
        jobs: Vec<Box<Job>>,
        verdicts: Result<HashMap<String, Verdict>, StoreError>,
    ) -> Result<(), Ended> {
        self.recalling = false;
        let mut verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                self.store_failed(error)?;
                self.unrecalled.splice(0..0, jobs);
                return Ok(());
            }
        };
        self.store_answered();
        for job in jobs {
            if self.is_closing(job.ticket.partition()) || !self.ledger.is_live(&job.ticket) {
                self.drop_job(*job);
            } else if let Some(verdict) = verdicts.remove(&job.claim.claim_id) {
                self.settle_known(*job, verdict);
            } else {
                self.looked_up(&job.ticket, false);
                let lane = job.lane;
                let head = self.lanes.enter(lane, job);
                self.submit(head);
            }
        }
        Ok(())
    }

    /// Ends a job whose claim has a verdict already.
    pub(super) fn settle_known(&mut self, job: Job, verdict: Verdict) {
        let disposition = Disposition::of_known(verdict, &job.received.source, &job.fingerprint);
        self.looked_up(&job.ticket, matches!(disposition, Disposition::Quarantined(_)));
        match &disposition {
            Disposition::Recalled(verdict) => {
                self.terms.meter.recalled();
                job.span.decided(verdict.decision.as_str());
            }
            Disposition::Duplicate(_) => self.terms.meter.duplicate(),
            Disposition::Quarantined(malformed) => job.span.quarantined(malformed.error),
            Disposition::Assessed(_) | Disposition::Parked(_) => {}
        }
        let Job { ticket, received, claim, .. } = job;
        self.batch.settle(Settled { ticket, received, claim_id: Some(claim.claim_id), disposition });
    }

    pub(super) fn store_failed(&mut self, error: StoreError) -> Result<(), Ended> {
        let reason = match error {
            StoreError::Fatal(reason) => return Err(Ended::Store(reason)),
            StoreError::Transient(reason) => reason,
        };
        if self.store_rests_until.is_none() {
            warn!(
                "Postgres does not answer; nothing is lost, the worker tries again until it does: {reason}"
            );
        }
        self.terms.meter.record_failed();
        self.terms.health.set_ready(Component::Store, Err(reason));
        self.store_rests_until = Some(Instant::now() + OUTAGE_PAUSE);
        Ok(())
    }

    pub(super) fn store_answered(&mut self) {
        self.store_heard = Instant::now();
        if self.store_rests_until.take().is_some() {
            info!("Postgres answers again");
            self.terms.health.set_ready(Component::Store, Ok(()));
        }
    }
}
