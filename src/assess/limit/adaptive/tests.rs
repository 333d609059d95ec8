use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What an API does with more calls than it can serve at once.
#[derive(Debug, Clone, Copy)]
enum Excess {
    Waits,
    IsRefused,
}

/// A client that always has claims, and an API that serves a number of calls at once, each in about
/// the same time. Time is virtual.
struct World {
    adaptive: Adaptive,
    now: Instant,
    /// The ends of the calls under way: when, after how long, and whether well.
    ends: BinaryHeap<Reverse<(Instant, Duration, bool)>>,
    excess: Excess,
    service: Duration,
    /// When each of the API's places is free.
    places: Vec<Instant>,
    /// The part of the calls that fails, whatever their number.
    failing: f64,
    random: fastrand::Rng,
    calls: u32,
    well: u32,
}

impl World {
    fn new(excess: Excess, capacity: usize, service: Duration, max: usize) -> Self {
        let now = Instant::now();
        Self {
            adaptive: Adaptive::new(max, now),
            now,
            ends: BinaryHeap::new(),
            excess,
            service,
            places: vec![now; capacity],
            failing: 0.0,
            random: fastrand::Rng::with_seed(7),
            calls: 0,
            well: 0,
        }
    }

    fn call(&mut self) {
        let (now, service) = (self.now, self.service.mul_f64(self.random.f64().mul_add(0.4, 0.8)));
        let place = self.places.iter_mut().min().expect("an API serves somebody");
        let well = *place <= now || matches!(self.excess, Excess::Waits);
        let end = if well { now.max(*place) + service } else { now + 2 * MILLISECOND };
        if well {
            *place = end;
        }
        let well = well && self.random.f64() >= self.failing;
        self.ends.push(Reverse((end, end - now, well)));
    }

    /// Lets time pass; how many calls ended, and how many of them well.
    fn pass(&mut self, time: Duration) -> (u32, u32) {
        let until = self.now + time;
        let before = (self.calls, self.well);
        loop {
            while self.ends.len() < self.adaptive.limit() {
                self.call();
                self.adaptive.asked(true, self.ends.len());
            }
            self.adaptive.asked(false, self.ends.len());
            let Some(Reverse((end, took, well))) = self.ends.pop() else { continue };
            if end > until {
                self.ends.push(Reverse((end, took, well)));
                self.now = until;
                return (self.calls - before.0, self.well - before.1);
            }
            self.now = end;
            self.calls += 1;
            self.well += u32::from(well);
            self.adaptive.ended(well, took, end);
        }
    }

    /// Nine tenths of what the API can do, with a fifth more calls than that at most.
    fn is_at_its_best(&mut self, time: Duration) {
        let (calls, well) = self.pass(time);
        let best = self.places.len() as f64 * time.as_secs_f64() / self.service.as_secs_f64();
        let said = format!(
            "{:?} at {} places of {:?}, limit {}: {well} of {calls} calls, {best:.0} at best",
            self.excess,
            self.places.len(),
            self.service,
            self.adaptive.limit()
        );
        assert!(f64::from(well) >= 0.9 * best, "{said}");
        assert!(f64::from(calls) <= 1.2 * best, "{said}");
    }
}

#[test]
fn it_follows_an_api_whose_capacity_falls_and_rises_tenfold() {
    for excess in [Excess::Waits, Excess::IsRefused] {
        for (large, service) in [(50, 20), (100, 20), (100, 100), (400, 100), (100, 300)] {
            let mut world = World::new(excess, large, Duration::from_millis(service), 1_000);
            for capacity in [large, large / 10, large] {
                world.places.resize(capacity, world.now);
                world.pass(10 * SECOND);
                world.is_at_its_best(20 * SECOND);
            }
        }
    }
}

#[test]
fn failures_unrelated_to_load_do_not_lower_the_limit() {
    let mut world = World::new(Excess::Waits, 100, 50 * MILLISECOND, 100);
    world.pass(10 * SECOND);
    world.failing = 0.3;
    world.pass(10 * SECOND);
    let (calls, well) = world.pass(20 * SECOND);
    assert!(f64::from(calls) >= 0.9 * 20.0 * 100.0 / 0.05, "{calls} calls, {well} well");
}

#[test]
fn it_uses_its_whole_bound_where_an_api_takes_whatever_comes() {
    let mut world = World::new(Excess::Waits, 1_000, 100 * MILLISECOND, 200);
    world.pass(10 * SECOND);
    let (_, well) = world.pass(10 * SECOND);
    assert!(f64::from(well) >= 0.9 * 10.0 * 200.0 / 0.1, "{well} calls");
}

#[test]
fn it_learns_nothing_while_no_claim_waits_for_it() {
    // A share of a group's limit, or a rate, may refuse calls before this one does.
    for granted in [true, false] {
        let mut now = Instant::now();
        let mut adaptive = Adaptive::new(1_000, now);
        let limit = adaptive.limit();
        for call in 0..1_000_u32 {
            now += MILLISECOND;
            adaptive.asked(granted, 3);
            adaptive.ended(call % 2 == 0, Duration::ZERO, now);
        }
        assert_eq!(adaptive.limit(), limit);
    }
}

#[test]
fn after_an_open_breaker_the_limit_starts_low_and_recovers() {
    let mut world = World::new(Excess::Waits, 100, 50 * MILLISECOND, 1_000);
    world.pass(10 * SECOND);
    let before = world.adaptive.limit();
    world.adaptive.breaker_opened(world.now);
    assert!((1..=before / 5).contains(&world.adaptive.limit()), "{}", world.adaptive.limit());
    world.pass(5 * SECOND);
    world.is_at_its_best(10 * SECOND);
}

proptest! {
    /// Whatever becomes of the calls.
    #[test]
    fn it_is_never_none_and_never_more_than_the_bound(
        max in 0..50_usize,
        calls in prop::collection::vec((any::<bool>(), 0..200_u64, any::<bool>(), any::<u8>()), 1..2_000),
    ) {
        let mut now = Instant::now();
        let mut adaptive = Adaptive::new(max, now);
        for (well, took, granted, opened) in calls {
            now += Duration::from_millis(took / 8);
            adaptive.asked(granted, max);
            adaptive.ended(well, Duration::from_millis(took / 8), now);
            if opened == 0 {
                adaptive.breaker_opened(now);
            }
            prop_assert!((1..=max.max(1)).contains(&adaptive.limit()));
        }
    }
}
