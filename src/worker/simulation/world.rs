//! One run: workers on fakes, and what befalls them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::journal::Journal;
use super::plan::{Act, Plan, Produced};
use super::ports::{Apis, RemoteApis, RemoteStore};
use crate::claim::SubjectKey;
use crate::config::Config;
use crate::decision::Policies;
use crate::outbox::message::Message;
use crate::telemetry::{Health, Meter, Spans};
use crate::testing::{
    FakeBroker, FakeIntake, FakePublisher, FakeStore, FaultProfile, Process, RowFault, Transaction,
};
use crate::worker::{Clock, Connections, Drain, Ports, Worker, WorkerContext, WorkerError};

/// So long after the last fault everything must have ended.
const MAX_WAIT: Duration = Duration::from_secs(3_600);
/// A silent member is thrown out after this.
const SESSION: Duration = Duration::from_secs(2);
/// Friday, 2021-10-01.
pub(super) const NOW_MICROS: i64 = 1_633_046_400_000_000;

/// Times so short that a run sees all of them.
const SHORT_TIMES: &str = r#"
[kafka]
session_timeout = "2s"
transaction_timeout = "1s"
[worker]
max_batch = 5
drain_timeout = "3s"
[retry]
initial_interval = "50ms"
max_interval = "400ms"
in_process_for = "1s"
defer_interval = "1s"
defer_max_interval = "4s"
give_up_after = "20s"
max_waiting = 4
[dead_letters]
max_run = 3
probe_every = "300ms"
[breaker]
min_calls = 5
window = "2s"
open_for = "100ms"
open_max = "1s"
access_denied_for = "1s"
access_denied_max = "1s"
probes = 1
"#;

const APIS: &str = r#"
[tencent_cloud]
secret_id = "id"
secret_key = "key"
[risk.intelligent_qr_code]
base_url = "http://simulated"
timeout = "500ms"
concurrency = 3
[risk.mini_program]
base_url = "http://simulated"
timeout = "500ms"
concurrency = 2
[risk.wechat_marketing]
serves = []
[risk.wechat_account]
serves = []
[risk.captcha_query]
serves = []
[risk.captcha_check]
serves = []
[policy.shadow]
on_unassessed = "approve"
[policy.shadow.levels.intelligent_qr_code]
approve = [4]
challenge = [1]
review = []
reject = [0, 2, 3]
"#;

/// Everything there is to see at the end of a run.
pub(super) struct World {
    pub(super) broker: FakeBroker,
    pub(super) store: FakeStore,
    pub(super) journal: Journal,
    pub(super) config: Arc<Config>,
    plan: Plan,
    pub(super) started: Instant,
    apis: Arc<Mutex<Apis>>,
    store_faults: Arc<Mutex<FaultProfile>>,
    random: Rng,
    slots: Vec<Slot>,
    lives: usize,
}

/// The fakes that a simulated worker works on.
struct Simulated;

impl Ports for Simulated {
    type Intake = FakeIntake;
    type Store = RemoteStore;
    type Publisher = FakePublisher;
    type Http = RemoteApis;
}

/// A place for a worker, and who is there at the moment.
#[derive(Default)]
struct Slot {
    life: Option<Life>,
}

struct Life {
    name: String,
    process: Process,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(FakeIntake, Drain), WorkerError>>,
}

impl World {
    /// Settings that the runs share. Reading them takes longer than a run.
    pub(super) fn settings() -> Arc<Config> {
        Arc::new(
            Config::from_toml(&format!("{SHORT_TIMES}{APIS}")).expect("the settings are right"),
        )
    }

    /// The same, with batches as large as they become, and as many seats for deferred claims.
    pub(super) fn large_batches() -> Arc<Config> {
        Self::with(&[
            ("max_batch = 5", "max_batch = 500"),
            ("max_waiting = 4", "max_waiting = 10_000"),
        ])
    }

    /// The same, with a batch for each claim.
    pub(super) fn batches_of_one() -> Arc<Config> {
        Self::with(&[("max_batch = 5", "max_batch = 1")])
    }

    /// The same, with claims that are deferred for long.
    pub(super) fn long_deferrals() -> Arc<Config> {
        Self::with(&[
            ("max_batch = 5", "max_batch = 500"),
            ("defer_interval = \"1s\"", "defer_interval = \"10s\""),
            ("defer_max_interval = \"4s\"", "defer_max_interval = \"1m\""),
            ("give_up_after = \"20s\"", "give_up_after = \"1h\""),
        ])
    }

    /// The same, with a linger that nothing may wait for, longer than any that is allowed.
    pub(super) fn long_linger() -> Arc<Config> {
        let mut config = Arc::into_inner(Self::large_batches()).expect("nobody else has it");
        config.worker.max_linger = Duration::from_secs(600);
        Arc::new(config)
    }

    /// The same, with captcha tickets to be checked.
    pub(super) fn with_tickets() -> Arc<Config> {
        let off = "[risk.captcha_check]\nserves = []";
        let on = "[risk.captcha_check]\nbase_url = \"http://simulated\"\ntimeout = \"500ms\"";
        assert!(APIS.contains(off), "{off}");
        let text = format!("{SHORT_TIMES}{}", APIS.replace(off, on));
        Arc::new(Config::from_toml(&text).expect("the settings are right"))
    }

    fn with(changes: &[(&str, &str)]) -> Arc<Config> {
        let times = changes.iter().fold(SHORT_TIMES.to_owned(), |times, (from, to)| {
            assert!(times.contains(from), "{from}");
            times.replace(from, to)
        });
        Arc::new(Config::from_toml(&format!("{times}{APIS}")).expect("the settings are right"))
    }

    /// The settings that a worker has where nobody says otherwise.
    pub(super) fn defaults() -> Arc<Config> {
        Arc::new(Config::from_toml(APIS).expect("the settings are right"))
    }

    pub(super) fn new(seed: u64, plan: Plan, config: Arc<Config>) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x5eed);
        let broker = FakeBroker::new(plan.partitions.0, plan.partitions.1, random.fork());
        broker.set_faults(plan.broker.clone());
        broker.set_deferred_max_bytes(plan.deferred_max_bytes);
        plan.rejected.iter().for_each(|claim_id| broker.reject_decision(claim_id));
        let apis = Apis {
            seed,
            faults: plan.api_faults,
            stubborn: plan.stubborn,
            away: [false; 2],
            api_profiles: plan.api_profiles,
            asked: std::collections::HashMap::new(),
        };
        let store = FakeStore::default();
        plan.rows.iter().for_each(|(claim_id, fault)| store.spoil(claim_id, *fault));
        Self {
            broker,
            store,
            journal: Journal::default(),
            config,
            started: Instant::now(),
            apis: Arc::new(Mutex::new(apis)),
            store_faults: Arc::new(Mutex::new(plan.store.clone())),
            random,
            slots: plan.workers.iter().map(|_| Slot::default()).collect(),
            lives: 0,
            plan,
        }
    }

    /// Lets everything happen, then waits until every claim is done and every worker has stopped.
    pub(super) async fn run(&mut self) {
        for slot in 0..self.slots.len() {
            self.start(slot);
        }
        let (broker, events) = (self.broker.clone(), std::mem::take(&mut self.plan.events));
        let producer = tokio::spawn(async move {
            for (pause, partition, produced) in events {
                sleep(pause).await;
                match produced {
                    Produced::Event(payload) => {
                        broker.produce(partition, None, Vec::new(), payload);
                    }
                    Produced::Nothing => broker.skip(partition),
                }
            }
        });
        for (pause, act) in std::mem::take(&mut self.plan.acts) {
            sleep(pause).await;
            self.act(act).await;
        }
        producer.await.expect("the producer does not panic");
        self.settle().await;
    }

    /// What is wrong with a claim's rows.
    pub(super) fn row_fault(&self, claim_id: &str) -> Option<RowFault> {
        let mut faults = self.plan.rows.iter();
        faults.find(|(faulty, _)| faulty == claim_id).map(|(_, fault)| *fault)
    }

    /// Every message that became visible, and when.
    pub(super) fn messages(&self) -> Vec<(Duration, Vec<Message>)> {
        let since =
            |transaction: Transaction| (transaction.at - self.started, transaction.messages);
        self.broker.transactions().into_iter().map(since).collect()
    }

    /// Waits, with nothing going wrong any more but what the APIs do, until nothing is left to do.
    async fn settle(&mut self) {
        self.broker.set_faults(FaultProfile {
            refused: 0.0,
            answer_lost: 0.0,
            late: 0.0,
            ..self.plan.broker.clone()
        });
        *self.store_faults.lock().expect("no panic") =
            FaultProfile { refused: 0.0, answer_lost: 0.0, late: 0.0, ..self.plan.store.clone() };
        let broker = self.broker.clone();
        let done = broker.until(FakeBroker::has_no_lag);
        if timeout(MAX_WAIT, done).await.is_err() {
            self.fault(format!("{MAX_WAIT:?} after the last fault there is still lag"));
        }
        for slot in 0..self.slots.len() {
            self.stop(slot).await;
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Kill(slot, down_for) => {
                let Some(life) = self.slots[slot].life.take() else { return };
                life.ended.abort();
                if !self.plan.workers[slot].is_static {
                    let (broker, name) = (self.broker.clone(), life.name);
                    tokio::spawn(async move {
                        sleep(SESSION).await;
                        broker.expel(&name);
                    });
                }
                sleep(down_for).await;
                self.start(slot);
            }
            Act::Restart(slot) => {
                self.stop(slot).await;
                self.start(slot);
            }
            Act::Freeze(slot, a_while) => {
                let Some(life) = &self.slots[slot].life else { return };
                let (broker, name, process) =
                    (self.broker.clone(), life.name.clone(), life.process.clone());
                process.set_frozen(true);
                tokio::spawn(async move {
                    sleep(a_while.min(SESSION)).await;
                    if a_while > SESSION {
                        broker.expel(&name);
                        sleep(a_while.saturating_sub(SESSION)).await;
                    }
                    process.set_frozen(false);
                });
            }
            Act::Expel(slot) => {
                let Some(life) = &self.slots[slot].life else { return };
                self.broker.expel(&life.name);
            }
            Act::Rebalance => self.broker.rebalance(),
            Act::StoreAway(a_while) => {
                let faults = Arc::clone(&self.store_faults);
                faults.lock().expect("no panic").is_away = true;
                sleep(a_while).await;
                faults.lock().expect("no panic").is_away = false;
            }
            Act::BrokerAway(a_while) => {
                self.broker.set_faults(FaultProfile { is_away: true, ..self.plan.broker.clone() });
                sleep(a_while).await;
                self.broker.set_faults(self.plan.broker.clone());
            }
            Act::ApiAway(api, a_while) => {
                self.apis.lock().expect("no panic").away[api] = true;
                let apis = Arc::clone(&self.apis);
                tokio::spawn(async move {
                    sleep(a_while).await;
                    apis.lock().expect("no panic").away[api] = false;
                });
            }
        }
    }

    pub(super) fn start(&mut self, slot: usize) {
        let life = self.lives;
        self.lives += 1;
        let name = if self.plan.workers[slot].is_static {
            format!("w{slot}")
        } else {
            format!("life-{life}")
        };
        let process = Process::default();
        let drain_timeout = self.config.worker.drain_timeout + Duration::from_secs(1);
        let (intake, member) = FakeIntake::join(
            &self.broker,
            &name,
            process.clone(),
            drain_timeout,
            self.random.fork(),
        );
        let store = RemoteStore {
            store: self.store.clone(),
            faults: Arc::clone(&self.store_faults),
            random: Arc::new(Mutex::new(self.random.fork())),
            process: process.clone(),
            journal: self.journal.clone(),
            life,
        };
        let publisher =
            FakePublisher::new(&self.broker, &name, member, process.clone(), self.random.fork());
        let http = RemoteApis {
            apis: Arc::clone(&self.apis),
            process: process.clone(),
            journal: self.journal.clone(),
            life,
        };
        let ports = Connections::<Simulated> {
            intake,
            store: Arc::new(store),
            publisher: Arc::new(publisher),
            http,
        };
        let worker = Worker::new(ports, self.context());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let run = {
            let process = process.clone();
            async move { process.run(worker.run(shutdown)).await }
        };
        self.slots[slot].life = Some(Life { name, process, stop, ended: tokio::spawn(run) });
    }

    pub(super) async fn stop(&mut self, slot: usize) {
        let Some(life) = self.slots[slot].life.take() else { return };
        // One that has ended hears nothing, and says below how it ended.
        life.stop.send(()).ok();
        match timeout(MAX_WAIT, life.ended).await {
            Ok(Ok(Ok((intake, _)))) => intake.leave(),
            Ok(Ok(Err(ended))) => self.fault(format!("{} ended: {ended}", life.name)),
            Ok(Err(error)) => self.fault(format!("{} failed: {error}", life.name)),
            Err(_) => self.fault(format!("{} does not stop", life.name)),
        }
    }

    fn context(&mut self) -> WorkerContext {
        let (registry, policy) = self.config.risk_apis().expect("the settings are right");
        let shadow = self.config.shadow(&policy);
        WorkerContext {
            kafka: crate::kafka::Settings {
                offset_metadata_max_bytes: self.plan.offset_metadata_max,
                ..self.config.kafka.clone()
            },
            worker: crate::config::Worker {
                max_in_flight: self.plan.max_in_flight,
                ..self.config.worker.clone()
            },
            retry: self.config.retry.clone(),
            flood: self.config.dead_letters.flood_bounds(),
            breaker: self.config.breaker.clone(),
            registry: Arc::new(registry),
            policies: Policies { in_force: policy, shadow },
            subject_key: SubjectKey::new(None),
            meter: Meter::new(
                &["qr_code", "mini_program"],
                &["intelligent_qr_code", "mini_program"],
            ),
            spans: Spans::off(),
            baggage: Vec::new(),
            health: Health::new(Duration::from_secs(30)),
            retry_now: Arc::default(),
            clock: Clock::Simulated { since: self.started, micros: NOW_MICROS },
            random: self.random.fork(),
        }
    }

    fn fault(&self, fault: String) {
        self.journal.notes().faults.push(fault);
    }
}
