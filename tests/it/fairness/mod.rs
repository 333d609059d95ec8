//! Fairness: one API fails, or one account sends far more than its share. Which part of their rate
//! do the others keep?
//!
//! One worker has default settings. Two APIs get the same load, above half of what their calls at
//! once allow; one fails, the other is measured in the second half of the time. `make fairness`
//! prints the table of docs/reliability.md, two minutes a row; `FAIRNESS_SECONDS`, `FAIRNESS_RATE`
//! and `FAIRNESS_LATENCY_MS` make it shorter or harder.

mod figures;
mod load;
mod quota;
mod scenario;

use std::sync::OnceLock;

use figures::{Figures, HEAD};
use scenario::{ALONE, Scenario, Settings};

/// What B does when A is not there, measured once in a process.
static B_ALONE: OnceLock<Figures> = OnceLock::new();

/// Runs each scenario and prints its row; fails after the last one if the others lost too much in
/// any.
async fn hold(scenarios: &[Scenario]) {
    let settings = Settings::from_environment();
    println!("{settings:?}\n{HEAD}");
    let alone = match B_ALONE.get() {
        Some(alone) => alone.clone(),
        None => {
            let Some(alone) = scenario::run(&ALONE, &settings).await else { return };
            B_ALONE.get_or_init(|| alone).clone()
        }
    };
    println!("{}", alone.row(ALONE.what, &alone));
    let mut faults = Vec::new();
    for scenario in scenarios {
        let Some(figures) = scenario::run(scenario, &settings).await else { return };
        println!("{}", figures.row(scenario.what, &alone));
        let kept = figures.kept(&alone);
        if kept < scenario.keeps {
            faults.push(format!("{}: the others kept {:.1} %", scenario.what, kept * 100.0));
        }
        faults.extend(figures.faults.iter().map(|fault| format!("{}: {fault}", scenario.what)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten minutes: make fairness"]
async fn a_slow_limited_or_failing_api_leaves_the_others_their_rate() {
    hold(&scenario::SLOW_OR_HALF_SICK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "four minutes: make fairness"]
async fn an_api_that_refuses_everything_leaves_the_others_their_rate() {
    hold(&scenario::MISCONFIGURED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "four minutes: make fairness"]
async fn one_busy_account_leaves_the_others_their_rate() {
    hold(&scenario::ONE_ACCOUNT).await;
}
