//! A claim waits for others to share its flush for a tenth of its own time, and for nothing else:
//! few claims are decided as soon as many, however long `worker.max_linger` is.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::failure_modes::calm;
use super::fairness::decided;
use super::plan::{Act, ApiProfile, Instance, Plan, Produced, claim};
use super::world::World;
use super::{oracle, simulate};
use crate::intake::Partition;

/// How many claims come.
const CLAIMS: u32 = 20;
/// The pause between two of them.
const PAUSE: Duration = Duration::from_millis(300);
/// Beyond its own time and a tenth of that, a claim waits no longer.
const MORE: Duration = Duration::from_secs(2);

/// Few claims, whose API takes most of the time that it has.
fn few(workers: usize) -> Plan {
    let event = |number: u32| {
        let id = format!("c{number}");
        let partition = Partition::claims(i32::try_from(number % 3).expect("small"));
        (PAUSE, partition, Produced::Event(Some(claim(&id, "qr_code", &id, "red packet"))))
    };
    let slow = ApiProfile { slower: Duration::from_millis(350), ..ApiProfile::default() };
    Plan {
        partitions: (3, 3),
        workers: vec![Instance { is_static: true }; workers],
        events: (0..CLAIMS).map(event).collect(),
        api_profiles: [slow, ApiProfile::default()],
        ..calm()
    }
}

/// Plays a plan through; each claim has to be decided soon after its answer was there.
fn assert_none_lingers(what: &str, plan: &Plan) {
    let world = simulate(1, plan, &World::long_linger());
    let faults = oracle::faults(&world);
    assert!(faults.is_empty(), "{what}: {}", faults.join("\n"));
    let mut answered = HashMap::<String, Instant>::new();
    for call in &world.journal.notes().calls {
        if let Some(ended) = call.ended {
            answered.insert(call.claim_id.clone(), ended);
        }
    }
    let decided = decided(&world);
    for number in 0..CLAIMS {
        let (id, sent) = (format!("c{number}"), PAUSE * (number + 1));
        let own = (answered[&id] - world.started).saturating_sub(sent);
        let wait = decided[&id].saturating_sub(sent);
        assert!(
            wait <= own + own / 10 + MORE,
            "{what}: {id} has its answer after {own:?} and is decided after {wait:?}"
        );
    }
}

/// A tenth of a second between one run's fault and the next one's, over three seconds.
fn moments() -> impl Iterator<Item = Duration> {
    (0..3_000).step_by(100).map(Duration::from_millis)
}

#[test]
fn a_claim_that_comes_alone_waits_for_a_tenth_of_its_time() {
    assert_none_lingers("alone", &few(1));
}

#[test]
fn a_claim_does_not_linger_while_partitions_move() {
    for moment in moments() {
        let again = Duration::from_millis(700);
        let acts = [moment, again, again, again].map(|pause| (pause, Act::Rebalance)).to_vec();
        assert_none_lingers(&format!("moved at {moment:?}"), &Plan { acts, ..few(3) });
    }
}

#[test]
fn a_claim_does_not_linger_while_the_worker_stops() {
    for moment in moments() {
        let acts = vec![(moment, Act::Restart(0)), (PAUSE, Act::Restart(0))];
        assert_none_lingers(&format!("stopped at {moment:?}"), &Plan { acts, ..few(1) });
    }
}
