//! Ways in which such workers lost or repeated data in public, each played through with its fault
//! at every moment of a run. `docs/reliability.md` lists them.

use std::time::Duration;

use super::plan::{Act, ApiProfile, Instance, Plan, Produced, claim};
use super::world::World;
use super::{number, simulate, verify};
use crate::intake::Partition;
use crate::testing::FaultProfile;

/// Ten claims of five subjects in one partition, one worker, no faults but those that a test adds.
/// Each way to a service takes up to 20 ms.
pub(super) fn calm() -> Plan {
    let claims = (0..10).map(|number| {
        let event =
            claim(&format!("c{number}"), "qr_code", &format!("user{}", number % 5), "red packet");
        (Duration::ZERO, Partition::claims(0), Produced::Event(Some(event)))
    });
    let faults = FaultProfile { delay: Duration::from_millis(20), ..FaultProfile::none() };
    Plan {
        partitions: (1, 1),
        workers: vec![Instance { is_static: true }],
        events: claims.collect(),
        acts: Vec::new(),
        store: faults.clone(),
        rows: Vec::new(),
        broker: faults,
        rejected: Vec::new(),
        deferred_max_bytes: usize::MAX,
        api_faults: 0.0,
        api_profiles: [ApiProfile::default(); 2],
        stubborn: 0,
        max_in_flight: 20,
        offset_metadata_max: 4_096,
    }
}

/// Plays a plan through once for each millisecond, with acts that begin then.
pub(super) fn at_every_millisecond(
    until: u64,
    plan: &Plan,
    acts: impl Fn(Duration) -> Vec<(Duration, Act)>,
) {
    let config = World::settings();
    let moments = number("CLAIMGATE_TEST_SEED").map_or(0..until, |seed| seed..seed + 1);
    for moment in moments {
        let plan = Plan { acts: acts(Duration::from_millis(moment)), ..plan.clone() };
        verify(moment, &plan, &config);
    }
}

#[test]
fn a_commit_never_comes_before_its_records_are_done() {
    at_every_millisecond(400, &calm(), |moment| {
        vec![(moment, Act::Kill(0, Duration::from_millis(50)))]
    });
}

#[test]
fn a_poison_pill_does_not_move_the_offset_past_open_records() {
    let mut plan = calm();
    // The first claim's calls fail for as long as the worker lives; the poison stands right behind
    // it.
    let stuck = claim("stuck", "qr_code", "stubborn", "red packet");
    let poison = Produced::Event(Some(b"\xff poison".to_vec()));
    plan.stubborn = 6;
    plan.events.insert(0, (Duration::ZERO, Partition::claims(0), Produced::Event(Some(stuck))));
    plan.events.insert(1, (Duration::ZERO, Partition::claims(0), poison));
    at_every_millisecond(400, &plan, |moment| {
        vec![(moment, Act::Kill(0, Duration::from_millis(50)))]
    });
}

#[test]
fn nothing_is_committed_after_the_assignment_was_lost() {
    let mut plan = calm();
    plan.workers.push(Instance { is_static: false });
    plan.broker.late = 0.05;
    plan.broker.answer_lost = 0.05;
    at_every_millisecond(400, &plan, |moment| {
        let again = Duration::from_millis(30);
        vec![(moment, Act::Expel(0)), (again, Act::Expel(1)), (again, Act::Expel(0))]
    });
}

#[test]
fn a_record_that_is_read_again_is_not_stale() {
    let mut plan = calm();
    plan.workers = vec![
        Instance { is_static: true },
        Instance { is_static: false },
        Instance { is_static: false },
    ];
    plan.partitions = (3, 1);
    for (number, (_, partition, _)) in plan.events.iter_mut().enumerate() {
        *partition = Partition::claims(i32::try_from(number % 3).expect("small"));
    }
    let again = Duration::from_millis(7);
    at_every_millisecond(300, &plan, |moment| {
        vec![
            (moment, Act::Rebalance),
            (again, Act::Rebalance),
            (again, Act::Rebalance),
            (again, Act::Rebalance),
        ]
    });
}

#[test]
fn a_worker_that_was_frozen_publishes_nothing_stale() {
    let mut plan = calm();
    plan.workers.push(Instance { is_static: false });
    at_every_millisecond(300, &plan, |moment| {
        vec![(moment, Act::Freeze(0, Duration::from_secs(3)))]
    });
}

#[test]
fn a_retry_during_an_outage_drops_no_claim() {
    let mut plan = calm();
    plan.api_faults = 0.6;
    let a_while = Duration::from_millis(200);
    at_every_millisecond(300, &plan, |moment| {
        vec![
            (moment, Act::ApiAway(0, a_while)),
            (Duration::from_millis(5), Act::StoreAway(a_while)),
        ]
    });
}

/// Ten minutes without the API, with the settings that a worker has by default: each claim is asked
/// about once, and hardly more.
#[test]
fn an_outage_of_ten_minutes_adds_a_tenth_of_the_calls_at_most() {
    let (seconds, claims) = (600, 7_000);
    let (outage, pause) = (Duration::from_secs(seconds), Duration::from_millis(100));
    let mut plan = calm();
    plan.events = (0..claims)
        .map(|number| {
            let event =
                claim(&format!("c{number}"), "qr_code", &format!("user{number}"), "red packet");
            (pause, Partition::claims(0), Produced::Event(Some(event)))
        })
        .collect();
    plan.acts = vec![(Duration::from_secs(30), Act::ApiAway(0, outage))];
    plan.max_in_flight = 4_096;
    let world = simulate(1, &plan, &World::defaults());
    let calls = world.journal.notes().calls.len() as u64;
    // The first comes half a second after the breaker opened, each further one twice as late, up to
    // ten seconds.
    let probes = 5 + seconds / 10;
    assert_eq!(world.store.verdicts().len() as u64, claims, "every claim is decided");
    println!(
        "{calls} calls for {claims} claims, in an outage of {outage:?}; at most {probes} probes"
    );
    assert!(calls <= claims * 11 / 10 + probes, "{calls} calls for {claims} claims");
}
