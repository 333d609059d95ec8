//! One API hangs: how much do the others lose?
//!
//! The same load runs with and without the fault, in turns and in one run, so that other load on
//! the machine affects both. The figures:
//! `cargo test --all-features --test it -- --ignored --nocapture isolation`

use std::time::Duration;

use claimgate_simulator::{Api, ApiFaults, Faults, Latency, SimulatorOptions};
use tokio::time::Instant;

use crate::lab::{Event, Lab, PARTITIONS, Worker, claim};
use crate::oracle::Expected;
use crate::tail::Tail;

const SICK: &str = "wechat_marketing";
const KINDS: [&str; 3] = ["qr_code", "wechat_account", SICK];
/// Longer than the producer takes to see its events acknowledged.
const TICK: Duration = Duration::from_millis(250);
const LONG: Duration = Duration::from_secs(180);

/// A load: a number of claims per tick, a third of them of the API that may fail.
#[derive(Debug, Clone, Copy)]
struct Load {
    claims: usize,
    ticks: usize,
}

struct Isolation {
    lab: Lab,
    worker: Worker,
    tail: Tail,
    expected: Expected,
    rounds: usize,
}

fn faults(sick: bool) -> Faults {
    let all = ApiFaults { latency: Latency::Uniform(5.0, 40.0), ..ApiFaults::default() };
    let hangs = ApiFaults { hang: 1.0, ..ApiFaults::default() };
    let apis = if sick { [(Api::WechatMarketing, hangs)].into() } else { [].into() };
    Faults { all, apis }
}

impl Isolation {
    async fn new(name: &str, defer_interval: &str) -> Option<Self> {
        let options = SimulatorOptions { faults: faults(false), ..SimulatorOptions::default() };
        let lab = Lab::with(name, options).await?;
        let (worker, tail) = (
            lab.worker("w1", &format!("[retry]\ndefer_interval = \"{defer_interval}\"")),
            Tail::of(&lab),
        );
        let mut isolation = Self { lab, worker, tail, expected: Expected::default(), rounds: 0 };
        isolation.round(Load { claims: 600, ticks: 1 }, false).await;
        Some(isolation)
    }

    /// The decisions per second of the other APIs under a load, with or without the fault.
    /// Everything is decided in the end.
    async fn round(&mut self, load: Load, sick: bool) -> f64 {
        self.lab.simulator.set_faults(faults(sick)).expect("faults");
        self.rounds += 1;
        let round = format!("round-{}-", self.rounds);
        let (began, decided) = (Instant::now(), self.tail.count());
        for tick in 0..load.ticks {
            let event = |number: usize| {
                let id = format!("{round}{number}");
                let event = claim(&id, &format!("user-{id}"))
                    .replace("qr_code", KINDS[number % KINDS.len()]);
                (id, Event::of(event).on(number as i32 % PARTITIONS))
            };
            let (ids, events): (Vec<_>, Vec<_>) =
                (tick * load.claims..(tick + 1) * load.claims).map(event).unzip();
            self.lab.produce(&events);
            self.expected.claims.extend(ids);
            let next = began + TICK * u32::try_from(tick + 1).expect("few ticks");
            tokio::time::sleep_until(next).await;
        }
        let total = load.claims * load.ticks;
        let others = (0..total).filter(|number| KINDS[number % KINDS.len()] != SICK).count();
        let tail = &self.tail;
        let of_others = || tail.seen().into_iter().skip(decided).filter(|seen| seen.api != SICK);
        self.lab
            .wait("the decisions of the others", LONG, async || of_others().count() >= others)
            .await;
        let last = of_others().map(|seen| seen.at).max().expect("there are some");
        self.lab.simulator.set_faults(faults(false)).expect("no faults");
        self.lab
            .wait("the decisions of the sick API", LONG, async || tail.count() >= decided + total)
            .await;
        others as f64 / last.duration_since(began).as_secs_f64()
    }

    /// The part of their decisions per second that the others keep, over this many pairs of rounds.
    async fn kept(&mut self, what: &str, load: Load, pairs: usize) -> f64 {
        let (mut well, mut sick) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            // Each goes first as often as second.
            for is_sick in [pair % 2 == 1, pair % 2 == 0] {
                let rate = self.round(load, is_sick).await;
                if is_sick { &mut sick } else { &mut well }.push(rate);
            }
        }
        let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
        let kept = mean(&sick) / mean(&well);
        println!(
            "{what}: {well:.0?} decisions/s of the others without the fault, {sick:.0?} with it: \
             {:.1} % kept",
            kept * 100.0
        );
        kept
    }

    async fn finish(mut self) {
        assert_eq!(self.worker.stop().await, Some(0));
        self.expected.verify(&self.lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_of_an_api_that_hangs() {
    let Some(mut isolation) = Isolation::new("isolation", "1s").await else { return };
    // 300 claims a second: a fraction of what a worker can do, in a debug build and beside other
    // tests. Those disturb the measurement; a real fault would cost more, in all three rounds. The
    // guarantee, 95 %, is measured when a test runs alone.
    let mut kept = 0.0;
    for _ in 0..3 {
        kept = isolation.kept("below saturation", Load { claims: 75, ticks: 16 }, 2).await;
        if kept >= 0.8 {
            break;
        }
    }
    assert!(kept >= 0.8, "the others kept {:.1} %", kept * 100.0);
    isolation.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length, for figures"]
async fn isolation_of_an_api_that_hangs_in_figures() {
    let Some(mut isolation) = Isolation::new("isolation-figures", "20s").await else { return };
    let kept = isolation.kept("below saturation", Load { claims: 125, ticks: 40 }, 1).await;
    isolation.kept("at saturation", Load { claims: 12_000, ticks: 1 }, 2).await;
    assert!(kept >= 0.95, "the others kept {:.1} %", kept * 100.0);
    isolation.finish().await;
}
