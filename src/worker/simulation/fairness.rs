//! Whatever ails one API or one account, the claims of the others are decided as fast as ever.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::failure_modes::calm;
use super::plan::{Act, ApiProfile, Plan, Produced, claim};
use super::world::World;
use super::{oracle, simulate};
use crate::intake::Partition;
use crate::outbox::message::Topic;

/// How long claims come in.
const SECONDS: u64 = 25;
/// Claims a second of each API: more than half of what the smaller one can take.
const RATE: u64 = 20;
/// So long, and no longer, 99 of 100 claims of an API wait that is well.
const SOON: Duration = Duration::from_secs(2);

/// Two APIs with the same load in the same partitions, the first one ailing.
fn plan(profile: ApiProfile, subject: impl Fn(u64) -> String) -> Plan {
    let pause = Duration::from_millis(1_000 / RATE);
    let event = |number: u64| {
        let (kind, id) =
            if number.is_multiple_of(2) { ("qr_code", "a") } else { ("mini_program", "b") };
        let partition = Partition::claims(i32::try_from(number / 2 % 3).expect("small"));
        let event = claim(&format!("{id}{}", number / 2), kind, &subject(number), "red packet");
        (
            if number.is_multiple_of(2) { pause } else { Duration::ZERO },
            partition,
            Produced::Event(Some(event)),
        )
    };
    Plan {
        partitions: (3, 3),
        events: (0..2 * RATE * SECONDS).map(event).collect(),
        api_profiles: [profile, ApiProfile::default()],
        max_in_flight: 60,
        ..calm()
    }
}

/// When each claim was decided, by its id.
pub(super) fn decided(world: &World) -> HashMap<String, Duration> {
    let mut decided: HashMap<String, Duration> = HashMap::new();
    for (at, messages) in world.messages() {
        for message in messages.into_iter().filter(|message| message.topic == Topic::Decisions) {
            let decision: Value =
                serde_json::from_slice(&message.payload.unwrap_or_default()).expect("a decision");
            decided.insert(decision["claim_id"].as_str().expect("an id").to_owned(), at);
        }
    }
    decided
}

/// How long the claims whose id begins with `prefix` waited, the 99th of 100.
fn waits(world: &World, prefix: &str) -> Duration {
    let decided = decided(world);
    let wait = |number: u64| {
        let sent = Duration::from_millis((number + 1) * 1_000 / RATE);
        decided
            .get(&format!("{prefix}{number}"))
            .map_or(Duration::MAX, |at| at.saturating_sub(sent))
    };
    let mut waits: Vec<Duration> = (0..RATE * SECONDS).map(wait).collect();
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

fn assert_the_other_is_well(name: &str, plan: &Plan) {
    let world = simulate(1, plan, &World::large_batches());
    let faults = oracle::faults(&world);
    assert!(faults.is_empty(), "{name}: {}", faults.join("\n"));
    let wait = waits(&world, "b");
    println!("{name}: the other one's claims wait {wait:?}");
    assert!(wait <= SOON, "{name}: the other one's claims wait {wait:?}");
}

#[test]
fn a_slow_or_failing_api_does_not_delay_the_other() {
    let subject = |number| format!("user{number}");
    let slow = ApiProfile { slower: Duration::from_millis(400), ..ApiProfile::default() };
    assert_the_other_is_well("slow", &plan(slow, subject));
    for fails in [0.25, 0.5] {
        let failing = ApiProfile { fails, ..ApiProfile::default() };
        assert_the_other_is_well(&format!("fails {fails}"), &plan(failing, subject));
    }
}

#[test]
fn an_api_that_refuses_every_signature_does_not_delay_the_other() {
    let refusing = ApiProfile { code: Some(4200), ..ApiProfile::default() };
    assert_the_other_is_well("4200", &plan(refusing, |number| format!("user{number}")));
}

#[test]
fn a_busy_account_does_not_delay_the_others() {
    let busy = |number: u64| {
        if number.is_multiple_of(2) { "bot".to_owned() } else { format!("user{number}") }
    };
    assert_the_other_is_well("one account", &plan(ApiProfile::default(), busy));
}

/// One API is away for a minute; its deferred claims take all of their seats and go round in the
/// retry topic. The claims of another, deferred a little later, are in the same partition.
#[test]
fn waiting_deferred_claims_do_not_fill_the_offset_map() {
    let events = |prefix: &'static str, kind: &'static str, count: u64, after: Duration| {
        (0..count).map(move |number| {
            let id = format!("{prefix}{number}");
            let event = claim(&id, kind, &id, "red packet");
            let pause = if number == 0 { after } else { Duration::ZERO };
            (pause, Partition::claims(0), Produced::Event(Some(event)))
        })
    };
    let seconds = Duration::from_secs;
    let sent = seconds(35);
    let plan = Plan {
        events: events("a", "qr_code", 40, Duration::ZERO)
            .chain(events("b", "mini_program", 10, sent))
            .collect(),
        acts: vec![
            (Duration::ZERO, Act::ApiAway(0, seconds(60))),
            (sent, Act::ApiAway(1, seconds(5))),
        ],
        max_in_flight: 200,
        // The least: 24 offsets, where several of them are open.
        offset_metadata_max: 28,
        ..calm()
    };
    let decided = decided(&simulate(1, &plan, &World::long_deferrals()));
    let last = (0..10).map(|number| decided[&format!("b{number}")]).max().expect("ten");
    // They are deferred after a second, for 10 s at most.
    assert!(last <= sent + seconds(15), "the other one's claims are decided after {last:?}");
}

/// A worker with room for twenty claims, whose first API fails always, and what is sent to it.
fn failing(events: Vec<(Duration, Partition, Produced)>) -> World {
    let failing = ApiProfile { fails: 1.0, ..ApiProfile::default() };
    let plan = Plan {
        events,
        api_profiles: [failing, ApiProfile::default()],
        max_in_flight: 20,
        ..calm()
    };
    let world = simulate(1, &plan, &World::large_batches());
    let faults = oracle::faults(&world);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    world
}

fn event(id: &str, kind: &str, subject: &str) -> Produced {
    Produced::Event(Some(claim(id, kind, subject, "red packet")))
}

#[test]
fn a_failing_api_does_not_delay_a_rarely_called_one() {
    let pause = Duration::from_millis(25);
    let first = Partition::claims(0);
    let mut events: Vec<_> = (0..1_600_u32)
        .map(|number| {
            (pause, first, event(&format!("a{number}"), "qr_code", &format!("u{number}")))
        })
        .collect();
    events.push((pause, first, event("b", "mini_program", "other")));
    let decided = decided(&failing(events));
    let wait = decided["b"] - pause * 1_601;
    println!("the only claim of the other API waits {wait:?}");
    assert!(wait <= SOON, "{wait:?}");
    let wait = |number: u32| decided[&format!("a{number}")] - pause * (number + 1);
    let mut waits: Vec<Duration> = (0..1_600).map(wait).collect();
    waits.sort_unstable();
    println!("half of the others wait {:?} at most, all {:?}", waits[800], waits[1_599]);
    // `retry.give_up_after`, and a moment.
    assert!(waits[800] <= Duration::from_secs(22), "{:?}", waits[800]);
}

#[test]
fn claims_behind_a_waiting_one_do_not_each_wait_in_turn() {
    let first = Partition::claims(0);
    let mut events: Vec<_> = (0..15)
        .map(|number| (Duration::ZERO, first, event(&format!("a{number}"), "qr_code", "bot")))
        .collect();
    events.push((Duration::ZERO, first, event("b", "mini_program", "bot")));
    let wait = decided(&failing(events))["b"];
    println!("the account's claim for the API that is well waits {wait:?}");
    assert!(wait <= Duration::from_secs(3), "{wait:?}");
}
