//! Commits of offsets on their own, as `at_least_once` needs them. They have a thread, because a
//! commit waits for the group.
//!
//! During a rebalance the group's coordinator answers no commit, for as long as the slowest member
//! takes. Publishing does not wait for that: the offsets are handed over, only the latest of each
//! partition are kept, and they are committed when the group accepts them. After a crash in
//! between, decisions are published twice, which this guarantee permits. The invariant: offsets
//! that were handed over are committed in the end, or their partition belongs to another worker.
//! That also holds for a worker that stops: before it leaves the group it waits, for a bounded
//! time, and then ends the attempts.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::offsets::offsets;
use crate::intake::consumer::SharedConsumer;
use crate::intake::{Commit, Partition};
use crate::kafka::{Settings, client_error};
use crate::telemetry::meter;

/// The pause before a commit that failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// The latest commit of each partition, and when it was handed over: the same one may come twice.
type Due = BTreeMap<Partition, (Commit, Instant)>;

/// The publisher's side.
pub(super) struct CommitQueue {
    consumer: SharedConsumer,
    /// Dropped, it lets the thread end once all is committed.
    due: watch::Sender<Due>,
    /// An error that waiting does not fix.
    refused: Arc<OnceLock<RDKafkaErrorCode>>,
}

impl CommitQueue {
    pub(super) fn start(
        settings: Settings,
        consumer: SharedConsumer,
        runtime: Handle,
    ) -> std::io::Result<Self> {
        let (due, handed) = watch::channel(Due::new());
        let refused = Arc::new(OnceLock::new());
        let committer = Committer {
            settings,
            consumer: Arc::clone(&consumer),
            runtime,
            due: handed,
            done: Due::new(),
            refused: Arc::clone(&refused),
            failing: false,
        };
        let thread = std::thread::Builder::new().name("committer".to_owned());
        thread.spawn(move || committer.run())?;
        Ok(Self { consumer, due, refused })
    }

    /// Hands offsets over, to be committed soon.
    pub(super) fn hand_over(&self, commits: &[Commit]) {
        if commits.is_empty() {
            return;
        }
        let now = Instant::now();
        self.due.send_modify(|due| {
            due.extend(commits.iter().map(|commit| (commit.partition, (commit.clone(), now))));
            // Within the lock: a reader that sees these offsets counts them.
            self.consumer.context().commits.hand_over();
        });
    }

    /// Whether the group takes commits from this worker.
    ///
    /// # Errors
    /// It never will again.
    pub(super) fn check(&self) -> Result<(), KafkaError> {
        self.refused.get().map_or(Ok(()), |code| Err(KafkaError::ConsumerCommit(*code)))
    }
}

/// The thread's own state.
struct Committer {
    settings: Settings,
    consumer: SharedConsumer,
    runtime: Handle,
    due: watch::Receiver<Due>,
    /// What the group has acknowledged.
    done: Due,
    refused: Arc<OnceLock<RDKafkaErrorCode>>,
    /// Whether the last commit failed.
    failing: bool,
}

impl Committer {
    /// Commits what is handed over. Ends when the queue is dropped and everything is committed, or
    /// when the worker leaves the group.
    fn run(mut self) {
        while self.runtime.block_on(self.due.changed()).is_ok() {
            while !self.commit() {
                std::thread::sleep(PAUSE);
                if self.consumer.context().commits.are_given_up() {
                    return;
                }
            }
        }
    }

    /// Commits what is due. Returns whether nothing is left.
    fn commit(&mut self) -> bool {
        let commits = &self.consumer.context().commits;
        let (handed, mut open) = {
            let due = self.due.borrow_and_update();
            (commits.handed_over(), due.clone())
        };
        let done = &self.done;
        open.retain(|partition, due| {
            done.get(partition) != Some(due)
                && self.consumer.context().holds(std::slice::from_ref(&due.0))
        });
        let committed = if open.is_empty() {
            Ok(())
        } else {
            offsets(&self.settings, open.values().map(|(commit, _)| commit))
                .and_then(|offsets| self.consumer.commit(&offsets, CommitMode::Sync))
        };
        match committed {
            Ok(()) => {
                commits.are_done(handed);
                self.done.extend(open);
                if std::mem::take(&mut self.failing) {
                    info!("offsets are committed again");
                }
                true
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Logs once that commits fail. Returns whether it is of no use to try again.
    fn failed(&mut self, error: &KafkaError) -> bool {
        meter::commit_failed();
        if let Some(code) = error.rdkafka_error_code().filter(|code| is_for_good(*code)) {
            self.refused.get_or_init(|| code);
            return true;
        }
        if !std::mem::replace(&mut self.failing, true) {
            warn!(
                "offsets cannot be committed; decisions go on, and the commit is tried again until \
                 it succeeds: {}",
                client_error(error)
            );
        }
        false
    }
}

fn is_for_good(code: RDKafkaErrorCode) -> bool {
    let refusals = [
        RDKafkaErrorCode::FencedInstanceId,
        RDKafkaErrorCode::GroupAuthorizationFailed,
        RDKafkaErrorCode::TopicAuthorizationFailed,
    ];
    refusals.contains(&code)
}
