//! A worker in small: it takes records on and publishes what became of them.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::decision::Source;
use claimgate::intake::Intake;
use claimgate::intake::deferral::Deferral;
use claimgate::intake::{Admission, Commit, Event, Ledger, Partition, Record, Ticket};
use claimgate::outbox::{Batch, Completed, PublishError, Received, RecordOutcome};
use claimgate::testing::FakeStore;
use claimgate::trace::TraceContext;

use super::Cluster;

/// A member of the group, with its ledger.
pub(crate) struct Member<'a, C: Cluster> {
    cluster: &'a C,
    pub(crate) intake: C::Intake,
    publisher: C::Publisher,
    pub(crate) ledger: Ledger,
    batch: Batch,
    /// What was read and taken on.
    pub(crate) taken: Vec<(Ticket, Record)>,
    /// What was read and was done before.
    pub(crate) done_before: Vec<Record>,
}

impl<'a, C: Cluster> Member<'a, C> {
    pub(crate) async fn join(cluster: &'a C, name: &str) -> Self {
        let (intake, publisher) = cluster.join(name).await;
        let (ledger, batch) = (Ledger::default(), Batch::default());
        Self {
            cluster,
            intake,
            publisher,
            ledger,
            batch,
            taken: Vec::new(),
            done_before: Vec::new(),
        }
    }

    pub(crate) async fn leave(self) {
        self.cluster.leave(self.intake, self.publisher).await;
    }

    /// The next thing that happens; what it means for the ledger is done. `None` when nothing does
    /// for so long.
    pub(crate) async fn next(
        &mut self,
        within: Duration,
    ) -> Option<(Vec<Partition>, Option<SyncSender<()>>)> {
        let event = tokio::time::timeout(within, self.intake.next()).await.ok()?;
        match event.expect("the consumer lives") {
            Event::Assigned { partitions, .. } => {
                for assigned in partitions {
                    assert_eq!(self.ledger.assign(&assigned), None, "the metadata is believed");
                }
                Some((Vec::new(), None))
            }
            Event::Records(records) => {
                for record in records {
                    match self.ledger.admit(record.partition, record.offset, record.epoch) {
                        Admission::Ticket(ticket) => self.taken.push((ticket, record)),
                        Admission::AlreadyDone => self.done_before.push(record),
                        Admission::Stale => {}
                    }
                }
                Some((Vec::new(), None))
            }
            Event::Revoked { partitions, done } => Some((partitions, Some(done))),
            Event::Lost(partitions) => {
                partitions.iter().for_each(|partition| self.ledger.revoke(*partition));
                Some((partitions, None))
            }
            Event::Brokers(_) | Event::Logs(_) => Some((Vec::new(), None)),
            Event::Failed(why) => panic!("{why}"),
        }
    }

    /// Reads until this many records were taken on.
    pub(crate) async fn take(&mut self, count: usize) {
        while self.taken.len() < count {
            let next = self.next(Duration::from_secs(30)).await;
            assert!(next.is_some(), "{} of {count} records were read", self.taken.len());
        }
    }

    /// Reads until it has this many partitions.
    pub(crate) async fn hold(&mut self, partitions: usize) {
        while self.ledger.partitions().count() < partitions {
            assert!(self.next(Duration::from_secs(30)).await.is_some(), "partitions within 30 s");
        }
    }

    /// Publishes those taken records that match, as dead letters.
    pub(crate) async fn dead_letter(
        &mut self,
        matches: impl Fn(&Record) -> bool,
    ) -> Result<(), PublishError> {
        let end = |_: &Record| {
            RecordOutcome::DeadLettered(DeadLetterReason::event(EventError::NotJson, "a test"))
        };
        self.publish(matches, end, |_| {}).await
    }

    /// Publishes those taken records that match, as deferred claims.
    pub(crate) async fn defer(
        &mut self,
        matches: impl Fn(&Record) -> bool,
    ) -> Result<(), PublishError> {
        let end = |record: &Record| {
            let reason = "http_5xx".to_owned();
            RecordOutcome::Deferred(Deferral {
                unseen: 0,
                code: None,
                times: 1,
                first: 1,
                since: 1,
                not_before: 2,
                attempts: 3,
                reason,
                api: String::new(),
                source: source(record),
                traceparent: String::new(),
            })
        };
        self.publish(matches, end, |_| {}).await
    }

    /// Publishes those taken records that match, with commits that a test may spoil.
    pub(crate) async fn publish(
        &mut self,
        matches: impl Fn(&Record) -> bool,
        end: impl Fn(&Record) -> RecordOutcome,
        spoil: impl Fn(&mut Vec<Commit>),
    ) -> Result<(), PublishError> {
        for (ticket, record) in self.taken.extract_if(.., |(_, record)| matches(record)) {
            let (outcome, source) = (end(&record), source(&record));
            let Record { key, headers, payload, .. } = record;
            let trace = TraceContext::fresh(1);
            let received = Received { source, key, headers, payload, received_at: 1, trace };
            self.batch.complete(Completed { ticket, received, claim_id: None, outcome });
        }
        let closed = self.batch.close(100, None);
        let recorded = closed.record(&FakeStore::default()).await.expect("the store takes it");
        let mut commits = recorded.commits(&self.ledger);
        spoil(&mut commits);
        match recorded.publish(&self.publisher, commits).await {
            Ok(published) => {
                self.ledger.confirm(
                    published.into_completed().into_iter().map(|completed| completed.ticket),
                );
                Ok(())
            }
            Err((_, error)) => Err(error),
        }
    }
}

fn source(record: &Record) -> Source {
    Source { topic: "t".to_owned(), partition: record.partition.number, offset: record.offset }
}
