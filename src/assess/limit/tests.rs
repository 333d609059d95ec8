use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn no_more_calls_at_once_than_allowed() {
    let (mut limit, now) = (Limit::new(2, None), Instant::now());
    let three = [limit.acquire(now), limit.acquire(now), limit.acquire(now)];
    assert_eq!(three, [Permit::Granted, Permit::Granted, Permit::Full]);
    limit.release(now);
    assert_eq!(limit.acquire(now), Permit::Granted);
    assert_eq!(limit.in_flight(), 2);
}

#[test]
fn without_a_partition_there_is_no_call_and_a_larger_share_waits() {
    let (mut limit, now) = (Limit::new(4, Some(100.0)), Instant::now());
    limit.set_share(&[], 4, now, now);
    assert_eq!(limit.acquire(now), Permit::Full);
    limit.set_share(&[0, 1], 4, now, now + SECOND);
    assert_eq!(limit.acquire(now), Permit::NotBefore(now + SECOND));
    let at = now + SECOND;
    assert_eq!(limit.acquire(at), Permit::Granted);
    assert_eq!(
        limit.acquire(at),
        Permit::NotBefore(at + 15 * MILLISECOND + Duration::from_nanos(1))
    );
    let at = at + 21 * MILLISECOND;
    assert_eq!(limit.acquire(at), Permit::Granted);
    assert_eq!(limit.acquire(at + SECOND), Permit::Full, "two of four permits");
    limit.set_share(&[1], 4, at, at);
    limit.release(at + SECOND);
    assert_eq!(limit.acquire(at + SECOND), Permit::Full, "one of four, and one is under way");
}

#[test]
fn a_part_of_a_permit_is_one_call_for_that_part_of_the_time() {
    let (mut limit, start) = (Limit::new(1, None), Instant::now());
    limit.set_share(&[3], 4, start, start);
    assert_eq!(limit.acquire(start), Permit::Granted);
    assert_eq!(limit.acquire(start), Permit::Full);
    limit.release(start + SECOND);
    let Permit::NotBefore(at) = limit.acquire(start + SECOND) else { panic!("it rests") };
    assert_eq!((at - start).as_secs(), 4, "one second in four");
    assert_eq!(limit.acquire(at), Permit::Granted);
}

/// Calls of `limit` as fast as it allows, between which the caller waits; when each was granted.
fn granted(
    limit: &mut Limit,
    mut now: Instant,
    waits: impl Iterator<Item = Duration>,
) -> Vec<Instant> {
    let mut granted = Vec::new();
    for wait in waits {
        match limit.acquire(now) {
            Permit::Granted => granted.push(now),
            Permit::NotBefore(at) => {
                assert!(at > now);
                now = at;
            }
            Permit::Full | Permit::Probe => panic!("unbounded concurrency is never full"),
        }
        now += wait;
    }
    granted
}

/// The most calls that any second saw; `times` are sorted.
fn busiest_second(times: &[Instant]) -> usize {
    let within =
        |index: usize| times[index..].iter().take_while(|at| **at - times[index] < SECOND).count();
    (0..times.len()).map(within).max().unwrap_or(0)
}

/// Several workers of a group: who holds which partition, and since when.
struct Group {
    owners: Vec<usize>,
    limits: Vec<Limit>,
}

impl Group {
    fn new(
        workers: usize,
        partitions: usize,
        concurrency: usize,
        rate: Option<f64>,
        now: Instant,
    ) -> Self {
        let limits = (0..workers).map(|_| Limit::new(concurrency, rate)).collect();
        let mut group = Self { owners: vec![0; partitions], limits };
        group.share(now, now);
        group
    }

    fn share(&mut self, now: Instant, from: Instant) {
        let partitions = u32::try_from(self.owners.len()).unwrap();
        for (worker, limit) in self.limits.iter_mut().enumerate() {
            let held = (0..).zip(&self.owners).filter(|(_, owner)| **owner == worker);
            limit.set_share(
                &held.map(|(number, _)| number).collect::<Vec<i32>>(),
                partitions,
                now,
                from,
            );
        }
    }
}

proptest! {
    #[test]
    fn no_second_sees_more_calls_than_the_rate(
        rate in 1.0..5_000.0_f64,
        waits in prop::collection::vec(0..3_000_u64, 1..2_000),
    ) {
        let mut limit = Limit::new(usize::MAX, Some(rate));
        let waits = waits.into_iter().map(|wait| Duration::from_micros(wait / 10));
        let most = rate + rate / 100.0 + 2.0;
        let busiest = busiest_second(&granted(&mut limit, Instant::now(), waits));
        prop_assert!((busiest as f64) <= most, "{busiest} calls within a second at {rate} a second");
    }

    #[test]
    fn the_rate_is_reached(rate in 1.0..5_000.0_f64, held in 1..8_i32) {
        let (mut limit, start) = (Limit::new(usize::MAX, Some(rate)), Instant::now());
        limit.set_share(&(0..held).collect::<Vec<_>>(), 8, start, start);
        let (mut now, mut granted) = (start, 0_u32);
        while now - start < 2 * SECOND {
            match limit.acquire(now) {
                Permit::Granted => granted += 1,
                Permit::NotBefore(at) => now = at,
                Permit::Full | Permit::Probe => prop_assert!(false),
            }
        }
        let share = rate * f64::from(held) / 8.0;
        prop_assert!(
            f64::from(granted) >= 2.0 * share * 0.99 - 1.0,
            "{granted} calls in 2 s at {share} a second"
        );
    }

    /// A timer and a turn of the loop come a few milliseconds late, each time.
    #[test]
    fn lateness_costs_no_calls(rate in 1.0..300.0_f64, held in 1..8_i32, late in 0..4_000_u64) {
        let (mut limit, start) = (Limit::new(usize::MAX, Some(rate)), Instant::now());
        limit.set_share(&(0..held).collect::<Vec<_>>(), 8, start, start);
        let (mut now, mut granted) = (start, 0_u32);
        while now - start < 10 * SECOND {
            match limit.acquire(now) {
                Permit::Granted => granted += 1,
                Permit::NotBefore(at) => now = at + Duration::from_micros(late),
                Permit::Full | Permit::Probe => prop_assert!(false),
            }
        }
        let share = rate * f64::from(held) / 8.0;
        prop_assert!(f64::from(granted) >= 10.0 * share * 0.98 - 2.0, "{granted} in 10 s at {share} a second");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Partitions move at random, and all workers call as fast as they may. The rate is that of the
    /// whole group, with any distribution of partitions.
    #[test]
    fn a_group_keeps_its_rate_while_partitions_move(
        rate in 20.0..1_000.0_f64,
        moves in prop::collection::vec((0..8_usize, 0..4_usize, 1..400_u64), 1..12),
    ) {
        let start = Instant::now();
        let mut group = Group::new(4, 8, usize::MAX, Some(rate), start);
        let (mut now, mut times) = (start, Vec::new());
        for (partition, owner, millis) in moves {
            group.owners[partition] = owner;
            group.share(now, now);
            for _ in 0..millis {
                for limit in &mut group.limits {
                    while limit.acquire(now) == Permit::Granted {
                        times.push(now);
                    }
                }
                now += MILLISECOND;
            }
        }
        // Each of four workers may be one call ahead, and one hundredth of a second.
        let most = rate * 1.01 + 4.0 + 1.0;
        let busiest = busiest_second(&times);
        prop_assert!((busiest as f64) <= most, "{busiest} calls within a second at {rate} a second");
        let span = (now - start).as_secs_f64();
        prop_assert!((times.len() as f64) >= rate * span * 0.9 - 8.0, "{} calls in {span} s", times.len());
    }

    /// A call takes up to 50 ms, and a larger share comes into force that long after the partitions
    /// moved.
    #[test]
    fn a_group_keeps_its_concurrency_while_partitions_move(
        concurrency in 8..40_usize,
        moves in prop::collection::vec((0..8_usize, 0..4_usize, 1..400_u64), 1..12),
        latencies in prop::collection::vec(1..=50_u32, 64),
    ) {
        let start = Instant::now();
        let (mut group, mut now) = (Group::new(4, 8, concurrency, None, start), start);
        let (mut calls, mut lengths, mut busy) = (Vec::<(Instant, usize)>::new(), latencies.iter().cycle(), 0);
        for (partition, owner, millis) in moves {
            group.owners[partition] = owner;
            group.share(now, now + 50 * MILLISECOND);
            for moment in 0..millis {
                calls.retain(|(ends, worker)| {
                    if *ends <= now { group.limits[*worker].release(now) }
                    *ends > now
                });
                for (worker, limit) in group.limits.iter_mut().enumerate() {
                    while limit.acquire(now) == Permit::Granted {
                        calls.push((now + MILLISECOND * *lengths.next().unwrap(), worker));
                    }
                }
                prop_assert!(calls.len() <= concurrency, "{} at once", calls.len());
                busy += usize::from(moment <= 100 || calls.len() == concurrency);
                now += MILLISECOND;
            }
        }
        let busy = Duration::from_millis(u64::try_from(busy).unwrap());
        prop_assert_eq!(busy, now - start, "all permits are in use between the moves");
    }

    /// Fewer permits than partitions: on the average over time no more calls than permits, and all
    /// of them in use.
    #[test]
    fn parts_of_permits_add_up_to_the_limit(
        concurrency in 1..8_usize,
        owners in prop::collection::vec(0..4_usize, 8),
        latencies in prop::collection::vec(1..=50_u32, 64),
    ) {
        let start = Instant::now();
        let mut group = Group::new(4, 8, concurrency, None, start);
        group.owners = owners;
        group.share(start, start);
        let (mut calls, mut lengths, mut used) = (Vec::<(Instant, usize)>::new(), latencies.iter().cycle(), 0);
        let span = 5_000;
        for moment in 0..span {
            let now = start + moment * MILLISECOND;
            calls.retain(|(ends, worker)| {
                if *ends <= now { group.limits[*worker].release(now) }
                *ends > now
            });
            for (worker, limit) in group.limits.iter_mut().enumerate() {
                while limit.acquire(now) == Permit::Granted {
                    calls.push((now + MILLISECOND * *lengths.next().unwrap(), worker));
                }
            }
            used += calls.len();
        }
        let average = used as f64 / f64::from(span);
        prop_assert!(average <= concurrency as f64 * 1.02, "{average} of {concurrency}");
        prop_assert!(average >= concurrency as f64 * 0.9, "{average} of {concurrency}");
    }
}
