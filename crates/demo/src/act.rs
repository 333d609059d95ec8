//! The main part of the demo: it sends events, stops and starts PostgreSQL, and waits until the
//! worker is done.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::LOOK;
use super::claims::Event;
use super::progress::{Progress, Tally};
use super::stage::{self, Stage, blocking};
use super::traffic::{self, Sent};
use super::watch::Counts;
use claimgate::telemetry::metrics;

/// The demo gives up after this time without progress.
const MAX_WAIT: Duration = Duration::from_secs(180);
/// How many events may be sent ahead of the worker.
const AHEAD: usize = 4_000;

/// What is under way.
pub(super) struct Act<'a> {
    stage: &'a Stage,
    total: usize,
    sent: Arc<AtomicUsize>,
    sending: JoinHandle<Result<Vec<Sent>, String>>,
    /// After how many events the outage begins; `None` once it has.
    half: Option<usize>,
    outage: Option<JoinHandle<Result<Range<i64>, String>>>,
    progress: Progress,
}

impl<'a> Act<'a> {
    pub(super) fn new(stage: &'a Stage, events: Vec<Event>, with_outage: bool) -> Self {
        let (total, sent) = (events.len(), Arc::new(AtomicUsize::new(0)));
        let taken = stage.worker.counter(metrics::ADMITTED.name);
        let sending = traffic::send(stage.kafka.clone(), events, Arc::clone(&sent), taken, AHEAD);
        Self {
            stage,
            total,
            sent,
            sending: tokio::spawn(sending),
            half: with_outage.then_some(total / 2),
            outage: None,
            progress: Progress::new(total),
        }
    }

    /// Runs until everything is sent and done. Returns what was sent, and when PostgreSQL was away.
    pub(super) async fn run(mut self) -> Result<(Vec<Sent>, Option<Range<i64>>), String> {
        let (mut last, mut deadline) = (Tally::default(), Instant::now() + MAX_WAIT);
        loop {
            tokio::time::sleep(LOOK).await;
            self.stage.worker.check()?;
            let tally = self.tally();
            self.progress.show(&tally);
            if tally != last {
                (last, deadline) = (tally, Instant::now() + MAX_WAIT);
            }
            self.begin_outage(&last);
            if self.is_over().await? {
                break;
            }
            if Instant::now() > deadline {
                return Err(last.what_is_missing(self.total, MAX_WAIT));
            }
        }
        self.progress.finish(&self.tally());
        let sent = self.sending.await.map_err(|error| error.to_string())??;
        let Some(outage) = self.outage else { return Ok((sent, None)) };
        let away = outage.await.map_err(|error| error.to_string())??;
        Ok((sent, Some(away)))
    }

    fn tally(&self) -> Tally {
        let names = [metrics::DUPLICATES.name, metrics::RETRIES.name, metrics::DEFERRED.name];
        let [skipped, retries, deferred] = self.stage.worker.metrics(names);
        let Counts { decisions, dead_letters } = self.stage.watch.counts();
        Tally {
            sent: self.sent.load(Ordering::Relaxed),
            decisions,
            dead_letters,
            skipped,
            retries,
            deferred,
        }
    }

    fn begin_outage(&mut self, tally: &Tally) {
        if self.half.take_if(|half| tally.done() >= *half).is_some() {
            let (server, say) = (self.stage.postgres.server().clone(), self.progress.speaker());
            self.outage = Some(tokio::spawn(stage::outage(server, say)));
        }
    }

    /// Whether everything is sent, and the worker has committed all of it, and its output was seen.
    async fn is_over(&self) -> Result<bool, String> {
        let under_way = self.outage.as_ref().is_some_and(|outage| !outage.is_finished());
        if !self.sending.is_finished() || under_way {
            return Ok(false);
        }
        if self.sent.load(Ordering::Relaxed) < self.total {
            // Sending failed; its result says why.
            return Ok(true);
        }
        blocking(self.stage.watch.is_complete()).await
    }
}
