use proptest::prelude::*;

use super::*;

fn bounds() -> Bounds {
    Bounds {
        max_run: 5,
        max_ratio: 0.5,
        min_events: 20,
        window: Duration::from_secs(60),
        probe_every: Duration::from_secs(10),
    }
}

fn place(offset: i64) -> Place {
    (Partition::claims(1), offset)
}

const SECOND: Duration = Duration::from_secs(1);

/// A flood by a run of malformed events, as of `now`.
fn flooded(now: Instant) -> Flood {
    let mut flood = Flood::new(bounds());
    for offset in 0..4 {
        assert_eq!(flood.read(now, place(offset), true), None);
    }
    assert_eq!(flood.read(now, place(4), true), Some(Change::Run(5)));
    flood
}

#[test]
fn a_run_of_malformed_events_is_a_flood_and_a_claim_ends_the_run() {
    let (mut flood, now) = (Flood::new(bounds()), Instant::now());
    for offset in 0..100 {
        assert_eq!(flood.read(now, place(offset), offset % 5 != 0 && offset % 2 == 0), None);
    }
    assert!(flood.admits(now) && !flood.is_on() && flood.next_probe().is_none());
    let flood = flooded(now);
    assert!(flood.is_on() && !flood.admits(now));
    assert_eq!(flood.next_probe(), Some(now + 10 * SECOND));
}

#[test]
fn conflicts_in_a_row_are_a_flood_though_each_could_be_read() {
    let (mut flood, now) = (Flood::new(bounds()), Instant::now());
    for offset in 0..5 {
        assert_eq!(flood.read(now, place(offset), false), None);
    }
    for offset in 0..4 {
        assert_eq!(flood.looked_up(now, place(offset), true), None);
    }
    assert_eq!(flood.looked_up(now, place(4), true), Some(Change::Run(5)));
    assert!(flood.is_on());
}

#[test]
fn above_the_ratio_with_enough_events_is_a_flood() {
    let (mut flood, now) = (Flood::new(bounds()), Instant::now());
    // Two of three malformed, never five in a row.
    for offset in 0..19 {
        assert_eq!(
            flood.read(now, place(offset), offset % 3 != 0),
            None,
            "{offset}: too few to tell"
        );
    }
    assert_eq!(flood.read(now, place(19), true), Some(Change::Ratio(13.0 / 20.0)));

    let mut flood = Flood::new(bounds());
    for offset in 0..19 {
        flood.read(now, place(offset), offset % 3 != 0);
    }
    assert_eq!(flood.read(now, place(19), false), None, "an event without a fault begins no flood");
    assert_eq!(flood.read(now, place(20), true), Some(Change::Ratio(13.0 / 21.0)));

    let mut half = Flood::new(bounds());
    for offset in 0..1_000 {
        assert_eq!(
            half.read(now, place(offset), offset % 2 == 1),
            None,
            "half is not more than half"
        );
    }
}

#[test]
fn what_is_older_than_the_window_does_not_count() {
    let (mut flood, mut now) = (Flood::new(bounds()), Instant::now());
    for offset in 0..10_000 {
        // Fifteen events in any window, three of four malformed: never enough events for the ratio.
        now += 4 * SECOND;
        assert_eq!(flood.read(now, place(offset), offset % 4 != 0), None);
    }
    let State::Calm(calm) = &flood.state else { panic!("calm") };
    assert!(calm.steps.len() <= 21 && calm.events <= 20, "{calm:?}");
}

#[test]
fn a_probe_that_is_malformed_waits_for_the_next() {
    let now = Instant::now();
    let mut flood = flooded(now);
    assert!(!flood.admits(now + 9 * SECOND));
    let due = now + 10 * SECOND;
    assert!(flood.admits(due));
    assert_eq!(flood.read(due, place(5), true), None);
    assert!(!flood.admits(due), "one at a time");
    assert_eq!(flood.next_probe(), Some(due + 10 * SECOND));
}

#[test]
fn a_well_formed_probe_ends_the_flood_and_resets_the_counts() {
    let now = Instant::now();
    let mut flood = flooded(now);
    let due = now + 10 * SECOND;
    assert_eq!(flood.read(due, place(5), false), None, "its claim is not looked up yet");
    assert!(!flood.admits(due + 60 * SECOND), "until then no other probe");
    assert_eq!(
        flood.looked_up(due, place(2), false),
        None,
        "what was in flight before says nothing"
    );
    assert_eq!(flood.looked_up(due, place(5), false), Some(Change::Over));
    assert!(!flood.is_on() && flood.admits(due));
    for offset in 6..10 {
        assert_eq!(flood.read(due, place(offset), true), None, "counters began anew");
    }
}

#[test]
fn a_probe_that_is_a_conflict_ends_nothing() {
    let now = Instant::now();
    let mut flood = flooded(now);
    let due = now + 10 * SECOND;
    flood.read(due, place(5), false);
    assert_eq!(flood.looked_up(due + SECOND, place(5), true), None);
    assert!(flood.is_on() && !flood.admits(due + 10 * SECOND));
    assert!(flood.admits(due + 11 * SECOND));
}

#[test]
fn a_probe_that_is_lost_does_not_hold_up_the_next() {
    let now = Instant::now();
    let mut flood = flooded(now);
    flood.read(now + 10 * SECOND, place(5), false);
    flood.left(place(5));
    assert!(!flood.admits(now + 19 * SECOND) && flood.admits(now + 20 * SECOND));
    assert_eq!(flood.looked_up(now + 19 * SECOND, place(5), false), None, "it is a probe no more");
}

/// A case that a seed of the simulation found: the probe found no room and was deferred before its
/// claim was looked up, and its partition was stuck for ever.
#[test]
fn a_probe_that_is_deferred_does_not_hold_up_the_next() {
    let now = Instant::now();
    let mut flood = flooded(now);
    let due = flood.next_probe().expect("a probe is due");
    flood.read(due, place(10), false);
    flood.left(place(9));
    assert!(!flood.admits(due + Duration::from_secs(60)), "another record was deferred");
    flood.left(place(10));
    assert!(flood.is_on() && flood.admits(due + Duration::from_secs(60)));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Event { malformed: bool, conflict: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (prop::bool::weighted(0.7), prop::bool::weighted(0.3))
        .prop_map(|(malformed, conflict)| Step::Event { malformed, conflict });
    prop::collection::vec(prop_oneof![1 => (0_u64..30).prop_map(Step::Wait), 9 => event], 0..400)
}

proptest! {
    /// Whatever the order of events: between two claims without a fault, there are no more dead
    /// letters than the run and the probes of that time allow.
    #[test]
    fn a_flood_drains_no_more_than_the_run_and_the_probes(steps in steps()) {
        let (mut flood, start) = (Flood::new(bounds()), Instant::now());
        let (mut now, mut since, mut dead) = (start, start, 0_u64);
        for (offset, step) in (0..).zip(steps) {
            match step {
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Event { .. } if !flood.admits(now) => {}
                Step::Event { malformed: true, .. } => {
                    flood.read(now, place(offset), true);
                    dead += 1;
                }
                Step::Event { malformed: false, conflict } => {
                    flood.read(now, place(offset), false);
                    flood.looked_up(now, place(offset), conflict);
                    if conflict {
                        dead += 1;
                    } else {
                        prop_assert!(!flood.is_on());
                        (since, dead) = (now, 0);
                    }
                }
            }
            let probes = now.duration_since(since).as_secs() / 10;
            // Malformed events and conflicts have a run each, and a conflict, which can be read,
            // ends the run of malformed events: the ratio catches that.
            prop_assert!(dead <= u64::from(bounds().min_events) + 5 + probes, "{dead} dead letters, {probes} probes");
        }
    }
}
