//! Rows that Postgres refuses, and messages that Kafka refuses: whatever becomes of such a claim,
//! the others are decided, and the worker goes on.

use std::time::Duration;

use super::failure_modes::{at_every_millisecond, calm};
use super::plan::{Act, Instance, Plan, Produced, claim};
use super::world::World;
use super::{oracle, simulate};
use crate::intake::Partition;
use crate::outbox::message::Topic;
use crate::testing::RowFault;

const SECOND: Duration = Duration::from_secs(1);
/// The retry topic takes no larger message in these tests. Deferral adds less than 1 KB to a claim.
const DEFERRED_MAX_BYTES: usize = 2_000;

/// A claim of a subject of its own, after a pause.
fn event(
    pause: Duration,
    partition: i32,
    id: &str,
    goods: &str,
) -> (Duration, Partition, Produced) {
    let event = claim(id, "qr_code", &format!("user-{id}"), goods);
    (pause, Partition::claims(partition), Produced::Event(Some(event)))
}

fn kill(moment: Duration) -> Vec<(Duration, Act)> {
    vec![(moment, Act::Kill(0, Duration::from_millis(50)))]
}

/// Plays a plan to its end and holds it against what was promised.
fn played(plan: &Plan) -> World {
    let world = simulate(1, plan, &World::settings());
    let faults = oracle::faults(&world);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    world
}

/// How many claims are decided, and how many dead letters there are.
fn decided_and_dead_lettered(world: &World) -> (usize, usize) {
    (world.store.verdicts().len(), world.store.dead_letters().len())
}

/// Eleven claims. Something is wrong with the rows of one, which is sent again while it is new, and
/// when it is done; then with other content.
fn with_row_fault(fault: RowFault) -> Plan {
    let mut plan = calm();
    plan.events.push(event(Duration::ZERO, 0, "bad", "red packet"));
    plan.events.push(event(Duration::ZERO, 0, "bad", "red packet"));
    plan.events.push(event(SECOND, 0, "bad", "red packet"));
    plan.events.push(event(SECOND, 0, "bad", "a car"));
    plan.rows = vec![("bad".to_owned(), fault)];
    plan
}

#[test]
fn a_claim_whose_rows_are_refused_for_ever_becomes_dead_letters() {
    for fault in [RowFault::Verdict, RowFault::Attempts] {
        let plan = with_row_fault(fault);
        assert_eq!(decided_and_dead_lettered(&played(&plan)), (10, 4), "{fault:?}");
        at_every_millisecond(300, &plan, kill);
    }
}

/// The worker takes every repeat for a conflict; the store finds that there is none.
#[test]
fn a_claim_that_an_older_version_hashed_otherwise_is_recalled_and_its_repeats_are_skipped() {
    let plan = with_row_fault(RowFault::Fingerprint);
    assert_eq!(decided_and_dead_lettered(&played(&plan)), (11, 1), "the one with other content");
    at_every_millisecond(300, &plan, kill);
}

/// Two workers ask about two claims with one id at the same time: only the insert finds out.
#[test]
fn of_two_claims_with_one_id_one_is_decided_and_the_other_a_dead_letter() {
    let pause = |number: u32| if number == 0 { SECOND } else { Duration::ZERO };
    let pair = |number: u32| {
        let id = format!("c{number}");
        [event(pause(number), 0, &id, "red packet"), event(Duration::ZERO, 1, &id, "a car")]
    };
    let instance = Instance { is_static: true };
    let plan = Plan {
        partitions: (2, 2),
        workers: vec![instance, instance],
        events: (0..10).flat_map(pair).collect(),
        ..calm()
    };
    let world = played(&plan);
    assert_eq!(decided_and_dead_lettered(&world), (10, 10));
    assert!(world.journal.notes().calls.len() > 10, "no claim was asked about by both");
    at_every_millisecond(200, &plan, |moment| kill(SECOND + moment));
}

#[test]
fn a_decision_that_its_topic_rejects_is_left_out_beside_others() {
    let mut plan = calm();
    plan.rejected = vec!["c3".to_owned()];
    // It can only be left out beside one that its topic takes.
    let pause = Duration::from_millis(100);
    plan.events.extend((0..20).map(|number| event(pause, 0, &format!("later{number}"), "ticket")));
    assert_eq!(decided_and_dead_lettered(&played(&plan)), (30, 0));
    at_every_millisecond(300, &plan, kill);
}

/// A plan with two claims that get no answer for long: one that the retry topic takes, and one that
/// it does not.
fn undeferrable() -> Plan {
    let stubborn = |id: &str, spaces: usize| {
        let mut event = claim(id, "qr_code", &format!("stubborn-{id}"), "red packet");
        event.extend(std::iter::repeat_n(b' ', spaces));
        (Duration::ZERO, Partition::claims(0), Produced::Event(Some(event)))
    };
    let mut plan = calm();
    plan.events.extend([stubborn("small", 0), stubborn("large", 2 * DEFERRED_MAX_BYTES)]);
    plan.stubborn = 20;
    plan.deferred_max_bytes = DEFERRED_MAX_BYTES;
    plan
}

#[test]
fn a_claim_that_the_retry_topic_does_not_take_is_decided_without_an_answer() {
    let plan = undeferrable();
    let world = played(&plan);
    assert_eq!(decided_and_dead_lettered(&world), (12, 0));
    let verdicts = world.store.verdicts();
    assert_eq!(verdicts["large"].reasons[0].code, "unassessed");
    let messages = world.messages().into_iter().flat_map(|(_, messages)| messages);
    let deferred: Vec<_> = messages.filter(|message| message.topic == Topic::Retry).collect();
    assert!(!deferred.is_empty(), "the small one is deferred");
    assert!(deferred.iter().all(|message| message.weight() <= DEFERRED_MAX_BYTES));
    // They are deferred after a second, `retry.in_process_for`.
    at_every_millisecond(600, &plan, |moment| kill(Duration::from_millis(800) + moment));
}

/// Whoever has lost the partition decides nothing more, and a claim that is read again while its
/// last decision is on its way to Postgres is not asked about.
#[test]
fn a_claim_that_cannot_be_deferred_is_decided_once_where_its_partition_is_lost() {
    at_every_millisecond(600, &undeferrable(), |moment| {
        vec![(Duration::from_millis(800) + moment, Act::Expel(0))]
    });
}
