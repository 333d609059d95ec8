//! How long claims wait while workers come and go: the table in `docs/reliability.md`.

use std::time::Duration;

use claimgate_simulator::Latency;
use tokio::time::{Instant, sleep};

use super::{Fleet, Traffic};
use crate::lab::{PARTITIONS, answers_after};

const SOON: Duration = Duration::from_secs(30);
const SETTINGS: &str = "[kafka]\nsession_timeout = \"10s\"\ntransaction_timeout = \"8s\"";

/// What happens to the workers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Joins,
    RestartedOneByOneWhenReady,
    RestartedOneByOneEachSecond,
    KilledAndStartedAgain,
    Killed,
    Frozen,
    Leaves,
    LeavesForGood,
}

impl What {
    /// The event in words, and the bounds without and with a name, in seconds of silence.
    fn told(self) -> (&'static str, f64, Option<f64>) {
        match self {
            Self::Joins => ("a worker joins", 1.5, Some(1.5)),
            Self::RestartedOneByOneWhenReady => {
                ("rolling restart, each waits until the one before is ready", 2.0, Some(1.0))
            }
            Self::RestartedOneByOneEachSecond => {
                ("rolling restart, each one second after the one before", 2.5, Some(1.0))
            }
            Self::KilledAndStartedAgain => ("SIGKILL, started again at once", 11.0, Some(1.0)),
            Self::Killed => ("SIGKILL, not started again", 11.0, Some(11.0)),
            Self::Frozen => ("frozen for 8 s (SIGSTOP)", 9.0, Some(9.0)),
            Self::Leaves => ("a worker leaves (SIGTERM)", 1.5, Some(11.0)),
            Self::LeavesForGood => ("a worker leaves for good (SIGUSR1)", 1.5, Some(1.5)),
        }
    }

    async fn happen(self, fleet: &mut Fleet, named: bool) {
        let first = fleet.workers.keys().next().expect("one").clone();
        match self {
            Self::Joins => drop(fleet.start(named)),
            Self::RestartedOneByOneWhenReady | Self::RestartedOneByOneEachSecond => {
                for old in fleet.workers.keys().cloned().collect::<Vec<_>>() {
                    fleet.stop(&old).await;
                    let new = again(fleet, &old, named);
                    if self == Self::RestartedOneByOneEachSecond {
                        sleep(Duration::from_secs(1)).await;
                    } else {
                        let ready = async || !fleet.has(&new).is_empty();
                        fleet.lab.wait("ready", SOON, ready).await;
                    }
                }
            }
            Self::KilledAndStartedAgain => {
                fleet.kill(&first);
                again(fleet, &first, named);
            }
            Self::Killed => fleet.kill(&first),
            Self::Frozen => {
                fleet.workers[&first].signal("-STOP");
                sleep(Duration::from_secs(8)).await;
                fleet.workers[&first].signal("-CONT");
            }
            Self::Leaves => fleet.stop(&first).await,
            Self::LeavesForGood => {
                let mut worker = fleet.workers.remove(&first).expect("it runs");
                worker.signal("-USR1");
                assert_eq!(worker.end(SOON).await, Some(0));
            }
        }
    }
}

/// Under its old name where it has one.
fn again(fleet: &mut Fleet, old: &str, named: bool) -> String {
    if !named {
        return fleet.start(false);
    }
    fleet.start_as(old);
    old.to_owned()
}

/// One row of the table.
async fn measure(what: What, named: bool) -> Option<f64> {
    let options = answers_after(Latency::Uniform(20.0, 20.0));
    let label = format!("{what:?}-{named}").to_lowercase();
    let mut fleet = Fleet::new(&label, options, PARTITIONS, SETTINGS).await?;
    let size = if what == What::Joins { 3 } else { 4 };
    while fleet.workers.len() < size {
        fleet.start(named);
    }
    fleet.fair("the start", SOON).await;
    let traffic = Traffic::start(&fleet.lab, "clm");
    sleep(Duration::from_secs(2)).await;
    let since = Instant::now();
    what.happen(&mut fleet, named).await;
    fleet.fair("afterwards", SOON).await;
    sleep(Duration::from_secs(1)).await;
    let seen = traffic.end(since).await;
    fleet.stop_all().await;
    let (words, bare, with_name) = what.told();
    let bar = if named { with_name.unwrap_or(bare) } else { bare };
    println!(
        "| {words} | {} | {:.1} ({:.1}) | {bar} |",
        if named { "with a name" } else { "without" },
        seen.silent.as_secs_f64(),
        seen.waited.as_secs_f64()
    );
    Some(seen.silent.as_secs_f64() - bar)
}

/// The whole table: `cargo test --all-features --test it -- --ignored --nocapture silence`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes on a machine with nothing else to do"]
async fn claims_hardly_wait_while_workers_come_and_go() {
    let mut over = Vec::new();
    for named in [false, true] {
        for what in [
            What::Joins,
            What::RestartedOneByOneWhenReady,
            What::RestartedOneByOneEachSecond,
            What::KilledAndStartedAgain,
            What::Killed,
            What::Frozen,
            What::Leaves,
            What::LeavesForGood,
        ] {
            let Some(too_long) = measure(what, named).await else { return };
            if too_long > 0.0 {
                over.push(format!("{what:?}, named {named}: {too_long:.1} s over its bar"));
            }
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

/// A worker that joins, and one that leaves: the most common events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_hardly_wait_when_one_worker_joins_or_leaves() {
    for (what, named) in [(What::Joins, false), (What::Leaves, false), (What::LeavesForGood, true)]
    {
        let Some(too_long) = measure(what, named).await else { return };
        // Other tests may be at work on the same machine.
        assert!(too_long < 1.5, "{what:?}: {too_long:.1} s over its bar");
    }
}
