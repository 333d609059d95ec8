//! The fleet: the workers' processes and their faults. Processes that end are started again, as an
//! orchestrator does.

use std::sync::Arc;
use std::time::Duration;

use super::super::lab::Worker;
use super::journal::{End, now};
use super::plan::{Fault, What};
use super::{Phase, World};

/// How long a worker may take to stop in the end: its drain, and what Kafka takes.
const STOP_WITHIN: Duration = Duration::from_secs(45);
/// The pause before a worker that gave up is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);

/// One worker over all its processes.
pub(super) struct Keeper {
    world: Arc<World>,
    name: String,
    starts: usize,
    life: usize,
    process: Worker,
}

impl Keeper {
    /// Starts a worker: the first half are static members, the others dynamic ones.
    pub(super) fn start(world: Arc<World>, index: usize) -> Self {
        let name = if index < super::plan::WORKERS / 2 {
            format!("w{index}")
        } else {
            format!("dynamic{index}")
        };
        let (life, process) = launch(&world, &name, 1);
        Self { world, name, starts: 1, life, process }
    }

    /// Carries out the faults of the script on a worker, and keeps it alive in between, until the
    /// run is over.
    pub(super) async fn keep(mut self, faults: Vec<Fault>) -> Self {
        for fault in faults {
            if !self.tend_until_due(&fault).await {
                break;
            }
            self.suffer(&fault.what).await;
            self.world.done.send_modify(|done| *done += 1);
        }
        self
    }

    /// Keeps it alive until the run is over.
    pub(super) async fn tend(mut self) -> Self {
        while *self.world.phase.borrow() != Phase::Over {
            self.look().await;
            tokio::time::sleep(LOOK).await;
        }
        self
    }

    /// The last SIGTERM.
    pub(super) async fn stop(mut self) {
        self.terminate().await;
    }

    async fn tend_until_due(&mut self, fault: &Fault) -> bool {
        let world = Arc::clone(&self.world);
        let mut due = std::pin::pin!(world.due(fault));
        loop {
            tokio::select! {
                is_due = &mut due => return is_due,
                () = tokio::time::sleep(LOOK) => self.look().await,
            }
        }
    }

    /// Starts it again if it ended by itself.
    async fn look(&mut self) {
        if !self.process.has_ended() {
            return;
        }
        let code = self.process.end(Duration::from_secs(1)).await;
        self.world.journal.ended(self.life, End::GaveUp);
        let why = last_words(&self.world, &self.name);
        self.world
            .journal
            .say(&format!("{}.{} gave up with {code:?}: {why}", self.name, self.starts));
        tokio::time::sleep(RESTART_PAUSE).await;
        self.launch();
    }

    fn launch(&mut self) {
        self.starts += 1;
        (self.life, self.process) = launch(&self.world, &self.name, self.starts);
    }

    async fn suffer(&mut self, what: &What) {
        let world = Arc::clone(&self.world);
        let who = format!("{}.{}", self.name, self.starts);
        match what {
            What::Kill { down, .. } => {
                // A process that has just ended by itself cannot be killed; the next one can.
                self.look().await;
                world.journal.say(&format!("SIGKILL {who}, down for {down:?}"));
                self.process.kill();
                world.journal.ended(self.life, End::Killed);
                world.journal.story().kills += 1;
                tokio::time::sleep(*down).await;
                self.launch();
                world.journal.recovered(&format!("SIGKILL of {who}"));
            }
            What::Stop { asleep, .. } => {
                self.look().await;
                world.journal.say(&format!("SIGSTOP {who} for {asleep:?}"));
                self.process.signal("-STOP");
                let begin = now();
                tokio::time::sleep(*asleep).await;
                // Noted before it wakes up: a frozen worker makes no call before the end of the
                // freeze.
                let mut story = world.journal.story();
                story.lives[self.life].sleeps.push((begin, now()));
                story.stops += 1;
                drop(story);
                self.process.signal("-CONT");
                world.journal.recovered(&format!("SIGSTOP of {who}"));
            }
            What::Terminate { down, .. } => {
                self.look().await;
                world.journal.say(&format!("SIGTERM {who}, down for {down:?}"));
                self.terminate().await;
                world.journal.story().terminations += 1;
                tokio::time::sleep(*down).await;
                self.launch();
                world.journal.recovered(&format!("SIGTERM of {who}"));
            }
            _ => unreachable!("{what:?} is none of a worker's"),
        }
    }

    /// SIGTERM; it has to drain and to end with 0.
    async fn terminate(&mut self) {
        let (journal, told) = (&self.world.journal, now());
        if self.process.has_ended() {
            return journal.ended(self.life, End::GaveUp);
        }
        self.process.signal("-TERM");
        let who = format!("{}.{}", self.name, self.starts);
        let begun = tokio::time::Instant::now();
        while !self.process.has_ended() {
            if begun.elapsed() > STOP_WITHIN {
                self.process.kill();
                journal.ended(self.life, End::Killed);
                return journal
                    .fault(format!("{who} did not stop within {STOP_WITHIN:?} of SIGTERM"));
            }
            tokio::time::sleep(LOOK).await;
        }
        match self.process.end(Duration::from_secs(1)).await {
            Some(0) => journal.ended(self.life, End::Drained { told }),
            code => {
                journal.ended(self.life, End::GaveUp);
                let why = last_words(&self.world, &self.name);
                journal.say(&format!("{who} ended with {code:?} after SIGTERM: {why}"));
            }
        }
    }
}

fn launch(world: &World, name: &str, starts: usize) -> (usize, Worker) {
    let caller = format!("{name}.{starts}");
    let settings = super::settings::worker(&world.lab.simulator.base_url(), &caller);
    (world.journal.life(caller), world.lab.worker(name, &settings))
}

/// The sentence with which a worker ended.
fn last_words(world: &World, name: &str) -> String {
    let log = std::fs::read_to_string(world.lab.log(name)).unwrap_or_default();
    let is_last = |line: &&str| line.contains("claimgate: ") || line.contains("panicked");
    let sentence = log.lines().rev().find(is_last);
    sentence.or_else(|| log.lines().last()).unwrap_or_default().to_owned()
}
