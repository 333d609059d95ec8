//! A [`Publisher`] on a [`FakeBroker`], with the guarantees of the real one.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::broker::{FakeBroker, Rejected};
use super::faults::InjectedFault;
use super::intake::Membership;
use super::process::Process;
use crate::intake::Commit;
use crate::outbox::message::{self, Message, Topic};
use crate::outbox::{PublishError, Publisher, Recorded};

/// An open transaction is aborted after this time.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 1 << 20;

/// A transactional producer.
#[derive(Debug)]
pub struct FakePublisher {
    broker: FakeBroker,
    /// The transactional id.
    name: String,
    member: Membership,
    process: Process,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The producer's epoch; `None` if a producer is still to be made.
    epoch: Option<u32>,
    /// A batch whose commit has an unknown result, and the content of that commit.
    doubt: Option<(u64, Vec<Commit>)>,
    /// The largest message that the retry topic takes, as far as refusals have shown it.
    deferred_max_bytes: usize,
    random: Rng,
}

/// What is sent of a batch.
#[derive(Debug, Default)]
struct Sent {
    messages: Vec<Message>,
    /// Deferred claims that their topic refuses: the place of each in the batch, and its weight.
    undeferrable: Vec<(usize, usize)>,
    /// Whether a decision is rejected, and none is there that its topic takes.
    takes_no_decision: bool,
}

impl FakePublisher {
    /// A publisher of this name, for the member that [`FakeIntake::join`](super::FakeIntake::join)
    /// made.
    pub fn new(
        broker: &FakeBroker,
        name: &str,
        member: Membership,
        process: Process,
        random: Rng,
    ) -> Self {
        let deferred_max_bytes = MAX_BYTES;
        let state = Mutex::new(State { epoch: None, doubt: None, deferred_max_bytes, random });
        Self { broker: broker.clone(), name: name.to_owned(), member, process, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    /// A request takes its time, and may fail.
    async fn request(&self) -> Result<InjectedFault, PublishError> {
        let faults = self.broker.faults();
        let (latency, fault) = {
            let mut state = self.state();
            (faults.latency(&mut state.random), faults.next_fault(&mut state.random))
        };
        sleep(latency).await;
        self.process.thawed().await;
        if fault == InjectedFault::Refused {
            Err(PublishError::Aborted("the fake broker is away".to_owned()))
        } else {
            Ok(fault)
        }
    }

    /// Whether the doubtful commit took place, by the partitions that the member still has.
    fn took_place(&self, doubt: &[Commit]) -> bool {
        let is_held =
            |commit: &&Commit| self.member.member_for(std::slice::from_ref(*commit)).is_some();
        let mut said = doubt.iter().filter(is_held).peekable();
        let is_there = |commit: &Commit| {
            self.broker.committed(commit.partition)
                == Some((commit.offset, commit.metadata.clone()))
        };
        said.peek().is_some() && said.all(is_there)
    }

    /// What of a batch its topics take. A rejected decision is left out where another goes.
    fn sent(&self, batch: &Recorded) -> Sent {
        let mut sent = Sent::default();
        let mut is_rejected = false;
        for (place, completed) in batch.completed().iter().enumerate() {
            let Some(message) = message::of(completed, false, MAX_BYTES) else { continue };
            let verdict = completed.outcome.verdict();
            if verdict.is_some_and(|verdict| self.broker.rejects(&verdict.claim_id)) {
                is_rejected = true;
                continue;
            }
            let weight = message.weight();
            if message.topic == Topic::Retry && weight > self.broker.deferred_max_bytes() {
                sent.undeferrable.push((place, weight));
            }
            sent.messages.push(message);
        }
        let is_decision = |message: &Message| message.topic == Topic::Decisions;
        sent.takes_no_decision = is_rejected && !sent.messages.iter().any(is_decision);
        sent
    }

    /// What the topics refuse, as an error.
    fn check(&self, sent: &Sent) -> Result<(), PublishError> {
        if sent.takes_no_decision {
            let reason = "the fake topic of decisions rejects messages";
            return Err(PublishError::Aborted(reason.to_owned()));
        }
        let Some(lightest) = sent.undeferrable.iter().map(|(_, weight)| *weight).min() else {
            return Ok(());
        };
        let mut state = self.state();
        state.deferred_max_bytes = state.deferred_max_bytes.min(lightest - 1);
        let places = sent.undeferrable.iter().map(|(place, _)| *place).collect();
        Err(PublishError::Undeferrable(places))
    }

    async fn transact(
        &self,
        batch: u64,
        sent: Sent,
        commits: Vec<Commit>,
    ) -> Result<(), PublishError> {
        let epoch = self.state().epoch.take();
        let epoch = match epoch {
            Some(epoch) => epoch,
            None => {
                self.request().await?;
                self.broker.make_producer(&self.name)
            }
        };
        let doubt = self.state().doubt.take().filter(|(doubtful, _)| *doubtful == batch);
        if let Some((_, doubt)) = doubt {
            if let Err(error) = self.request().await {
                self.state().doubt = Some((batch, doubt));
                return Err(error);
            }
            if self.took_place(&doubt) {
                self.state().epoch = Some(epoch);
                return Ok(());
            }
        }
        self.request().await?;
        self.check(&sent)?;
        let lost = || PublishError::Aborted("a partition was lost meanwhile".to_owned());
        let member = self.member.member_for(&commits).ok_or_else(lost)?;
        let begun =
            self.broker.begin(member, (self.name.clone(), epoch), sent.messages, commits.clone());
        let transaction = begun.map_err(rejected)?;
        self.abort_later(transaction);
        let fault = match self.request().await {
            Ok(fault) => fault,
            Err(error) => {
                drop(self.broker.finish(transaction, false));
                return Err(error);
            }
        };
        let ended = self.commit(transaction, fault).await;
        match (fault, ended) {
            (InjectedFault::Done, Some(Ok(()))) => {
                self.state().epoch = Some(epoch);
                Ok(())
            }
            (InjectedFault::Done, Some(Err(rejection))) => Err(rejected(rejection)),
            _ => {
                self.state().doubt = Some((batch, commits));
                Err(PublishError::Aborted("the fake broker's answer was lost".to_owned()))
            }
        }
    }

    /// The broker ends a transaction that its producer does not end.
    fn abort_later(&self, transaction: u64) {
        let broker = self.broker.clone();
        tokio::spawn(async move {
            sleep(TRANSACTION_TIMEOUT).await;
            // Usually it has ended long before.
            drop(broker.finish(transaction, false));
        });
    }

    /// Sends the commit, which takes place even if the caller is dropped. Late ones are not waited
    /// for.
    async fn commit(&self, transaction: u64, fault: InjectedFault) -> Option<Result<(), Rejected>> {
        let faults = self.broker.faults();
        let (mut there, back) = {
            let mut state = self.state();
            (faults.latency(&mut state.random), faults.latency(&mut state.random))
        };
        if fault == InjectedFault::Late {
            there += there.max(Duration::from_millis(1)) * self.state().random.u32(1..1_000);
        }
        let (answer, answered) = oneshot::channel();
        let broker = self.broker.clone();
        tokio::spawn(async move {
            sleep(there).await;
            // The caller may be gone.
            drop(answer.send(broker.finish(transaction, true)));
        });
        if fault == InjectedFault::Late {
            sleep(back).await;
            return None;
        }
        let ended = answered.await.ok();
        sleep(back).await;
        self.process.thawed().await;
        ended
    }
}

fn rejected(rejection: Rejected) -> PublishError {
    match rejection {
        Rejected::Fenced => PublishError::Fatal("a newer producer has this name".to_owned()),
        Rejected::NoMember => {
            PublishError::Aborted("the member is not in the group any more".to_owned())
        }
        Rejected::Over => PublishError::Aborted("the transaction was aborted".to_owned()),
    }
}

impl Publisher for FakePublisher {
    async fn publish(&self, batch: &Recorded, commits: Vec<Commit>) -> Result<(), PublishError> {
        let sent = self.sent(batch);
        match self.transact(batch.number(), sent, commits).await {
            Err(PublishError::Aborted(reason)) if self.state().doubt.is_some() => {
                Err(PublishError::Uncertain(reason))
            }
            result => result,
        }
    }

    fn deferred_max_bytes(&self) -> usize {
        self.state().deferred_max_bytes
    }
}
