//! The worker on fakes, thousands of times: each run is another mixture of kills, freezes,
//! rebalances, outages, lost answers and API faults.
//!
//! A run is a function of its seed: time is paused and jumps from one event to the next, randomness
//! is seeded, and one thread runs everything. `CLAIMGATE_TEST_SEED=… cargo test --all-features
//! --lib simulation` repeats one; `CLAIMGATE_TEST_SCHEDULES` says how many are tried.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;

mod failure_modes;
mod fairness;
mod journal;
mod lingering;
mod oracle;
mod plan;
mod ports;
mod progress;
mod refused;
mod tickets;
mod world;

use plan::Plan;
use world::World;

/// Schedules that are tried where the environment does not say how many.
const SCHEDULES: u64 = 10_000;
/// Threads that share them.
const THREADS: u64 = 2;

/// One run, to its end.
fn simulate(seed: u64, plan: &Plan, config: &Arc<Config>) -> World {
    play(async {
        let mut world = World::new(seed, plan.clone(), Arc::clone(config));
        world.run().await;
        // Whatever was sent late arrives.
        tokio::time::sleep(Duration::from_secs(60)).await;
        world
    })
}

/// Plays something through in a time of its own.
fn play<T>(run: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run)
}

/// Runs a plan; fails with what was promised and not kept.
fn verify(seed: u64, plan: &Plan, config: &Arc<Config>) {
    let faults = oracle::faults(&simulate(seed, plan, config));
    assert!(faults.is_empty(), "CLAIMGATE_TEST_SEED={seed} {plan:?}\n{}", faults.join("\n"));
}

fn number(key: &str) -> Option<u64> {
    std::env::var(key).ok().and_then(|number| number.parse().ok())
}

#[test]
fn no_fault_schedule_loses_or_doubles_anything() {
    let config = World::settings();
    if let Some(seed) = number("CLAIMGATE_TEST_SEED") {
        return verify(seed, &Plan::of(seed), &config);
    }
    let (first, schedules) =
        (u64::from(fastrand::u32(..)), number("CLAIMGATE_TEST_SCHEDULES").unwrap_or(SCHEDULES));
    println!("{schedules} schedules from CLAIMGATE_TEST_SEED={first} on");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (config, seeds) = (&config, (first + thread..first + schedules).step_by(2));
            scope.spawn(move || seeds.for_each(|seed| verify(seed, &Plan::of(seed), config)));
        }
    });
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let config = World::settings();
    for seed in 0..50 {
        let run = || format!("{:?}", simulate(seed, &Plan::of(seed), &config).messages());
        assert_eq!(run(), run(), "seed {seed}");
    }
}
