//! Chaos: four workers of one group on a real Kafka and a real PostgreSQL with simulated risk APIs.
//! Everything breaks, by a script that a seed determines. In the end an oracle compares input,
//! output, records and calls, by identities.
//!
//! In reading order: `plan` has the faults and `traffic` the events, both pure. `fleet` and `hands`
//! carry the faults out, on `brokers` and `database`. `journal` notes what was done, `evidence`
//! reads the results, `judge` and `calls` find faults in them, `report` prints.
//!
//! `make test` runs it small, once with one broker and one database and once with three brokers and
//! a standby. `make chaos CLAIMS=… KILLS=… SEED=… BROKERS=3 STANDBY=1` runs it in any size.

mod brokers;
mod calls;
mod database;
mod evidence;
mod fleet;
mod hands;
mod journal;
mod judge;
mod observer;
mod plan;
mod report;
mod sender;
mod settings;
mod settling;
mod traffic;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use claimgate_simulator::SimulatorOptions;
use tokio::sync::watch;

use super::lab::{Lab, services};
use super::oracle::{rederived, sealed};

use brokers::Brokers;
use database::Database;
use fleet::Keeper;
use journal::Journal;
use plan::{Fault, Hand, WORKERS};
use settings::Settings;
use traffic::Traffic;

/// What a run may take beyond `CHAOS_MINUTES`: to settle, to stop and to be judged.
const AFTERWARDS: Duration = Duration::from_secs(10 * 60);
/// The free memory that three brokers, two databases and four workers need.
const CLUSTER_NEEDS_MB: u64 = 6 * 1024;

/// What everybody shares.
struct World {
    lab: Lab,
    settings: Settings,
    traffic: Traffic,
    journal: Journal,
    /// Claims that were sent.
    sent: watch::Sender<usize>,
    /// Faults that are over.
    done: watch::Sender<usize>,
    phase: watch::Sender<Phase>,
}

/// What a run is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Things break.
    Breaking,
    /// Nothing breaks any more: the system has to recover by itself.
    Settling,
    /// The workers may stop.
    Over,
}

impl World {
    /// Waits until a fault is due. `false`: it is cancelled.
    async fn due(&self, fault: &Fault) -> bool {
        let mut sent = self.sent.subscribe();
        let mut phase = self.phase.subscribe();
        let is_due = async {
            let enough = sent.wait_for(|sent| *sent >= fault.after_claims).await;
            enough.expect("the world lasts");
            tokio::time::sleep(fault.pause).await;
        };
        tokio::select! {
            () = is_due => true,
            _ = phase.wait_for(|phase| *phase != Phase::Breaking) => false,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_breaks_and_no_claim_is_lost_or_doubled() {
    let settings = Settings::from_environment();
    if settings.asked_for || services().is_some() {
        chaos("chaos", settings).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_claim_is_lost_or_repeated_when_brokers_and_primaries_die() {
    if services().is_none() {
        return;
    }
    match memory_available() {
        Some(megabytes) if megabytes < CLUSTER_NEEDS_MB => {
            eprintln!(
                "left out: three brokers want {CLUSTER_NEEDS_MB} MB of memory, and {megabytes} are \
                 free"
            );
        }
        _ => chaos("chaos-cluster", Settings::of_a_small_cluster()).await,
    }
}

/// The megabytes that processes may use, by Linux.
fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
}

/// A run, from the start of its services to the verdict.
async fn chaos(name: &str, settings: Settings) {
    println!("{}", settings.command());
    let database = Database::start(settings.size.standby).await;
    let started = database.zip(Brokers::start(settings.size.cluster));
    assert!(
        started.is_some() || !settings.asked_for,
        "Kafka and PostgreSQL are needed, and could not be started"
    );
    let Some(((database, url), (brokers, bootstrap))) = started else { return };
    let options = SimulatorOptions {
        faults: hands::usual(),
        seed: settings.seed,
        // The log must be complete, or it would prove nothing: on average there are at most two
        // calls per claim.
        log_capacity: 1_000_000.max(4 * settings.size.claims),
        ..SimulatorOptions::default()
    };
    let world = Arc::new(World {
        lab: Lab::at(name, options, bootstrap, url).await,
        settings,
        traffic: Traffic { seed: settings.seed, claims: settings.size.claims },
        journal: Journal::new(),
        sent: watch::Sender::new(0),
        done: watch::Sender::new(0),
        phase: watch::Sender::new(Phase::Breaking),
    });
    brokers.verify(&world).await;
    let (brokers, database) = (Arc::new(brokers), Arc::new(database));
    // The services are removed with their last owner, which is this function.
    let running = run(&world, Arc::clone(&brokers), Arc::clone(&database));
    let ended = tokio::time::timeout(settings.cap + AFTERWARDS, running).await;
    let Ok(report) = ended else {
        keep_logs(&world);
        panic!("the run did not end; run it again with `{}`", settings.command());
    };
    println!("{report}");
    if !report.wrong.is_empty() {
        keep_logs(&world);
    }
    report.assert_clean();
}

/// Breaks everything, lets it recover, and checks the results.
async fn run(world: &Arc<World>, brokers: Arc<Brokers>, database: Arc<Database>) -> report::Report {
    let faults = plan::plan(world.settings.seed, world.settings.size);
    let of = |hand: Hand| -> Vec<Fault> {
        faults.iter().filter(|fault| fault.what.hand() == hand).cloned().collect()
    };
    let observer = observer::Observer::start(&world.lab);
    let keepers: Vec<_> = (0..WORKERS)
        .map(|index| {
            let (keeper, faults) =
                (Keeper::start(Arc::clone(world), index), of(Hand::Worker(index)));
            tokio::spawn(async move { keeper.keep(faults).await.tend().await })
        })
        .collect();
    let hands = [
        tokio::spawn(hands::break_service(Arc::clone(world), brokers, of(Hand::Broker))),
        tokio::spawn(hands::break_service(Arc::clone(world), database, of(Hand::Database))),
        tokio::spawn(hands::trouble_apis(Arc::clone(world), of(Hand::Apis))),
    ];
    let sent = sender::send(world, &observer, faults.len()).await;
    world.phase.send_replace(Phase::Settling);
    for hand in hands {
        hand.await.expect("the hand did what it had to");
    }
    let completed = settling::settle(world, &observer, sent).await;
    world.phase.send_replace(Phase::Over);
    for keeper in keepers {
        keeper.await.expect("the keeper lives").stop().await;
    }
    world.journal.say("the workers have stopped; the oracle reads");
    let seen = observer.stop();
    let evidence = evidence::Evidence::gather(&world.lab, sent).await;
    let story = world.journal.story().clone();
    let mut wrong = story.faults.clone();
    wrong.extend(completed.wrong.clone());
    let tally = judge::judge(&evidence, &world.traffic, &mut wrong);
    let asked = calls::judge(&evidence, &story, &mut wrong);
    wrong.extend(rederived(&world.lab).await);
    wrong.extend(sealed(&world.lab).await);
    report::Report {
        settings: world.settings,
        elapsed: world.journal.elapsed(),
        longest: observer::longest_wait(&seen, &story),
        completed,
        story,
        tally,
        asked,
        wrong,
    }
}

/// Copies the workers' logs to where they outlive the run.
fn keep_logs(world: &World) {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{}", world.settings.seed));
    std::fs::create_dir_all(&folder).expect("a folder");
    for entry in std::fs::read_dir(world.lab.folder.path()).expect("the lab's folder").flatten() {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
    }
    println!("the workers' logs are in {}", folder.display());
}

/// A short wait where there is no event to wait for.
async fn breath() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
