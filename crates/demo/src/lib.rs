//! `claimgate-demo`: runs everything on one machine, without any set-up, and checks the guarantees
//! at the end.
//!
//! This file has the steps, `act` the main one. `stage` starts and stops everything, [`claims`]
//! makes the claims, `traffic` sends them, `watch` sees what consumers see, `evidence` collects the
//! evidence, `checks` compares it, `report` and `questions` print.
//!
//! The invariant: everything that was started is stopped, also after an error.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::Parser;
use tokio::time::Instant;

use claimgate::service;
use claimgate::telemetry::metrics;

pub mod claims;

mod act;
mod checks;
mod cpu;
mod evidence;
mod folder;
mod observer;
mod postgres;
mod progress;
mod questions;
mod report;
mod stage;
mod tables;
mod traffic;
mod watch;
mod worker;

use act::Act;
use evidence::{Evidence, Tables};
use report::Measured;
use stage::Stage;

/// The message after Ctrl-C.
const INTERRUPTED: &str = "interrupted; what was started is stopped";
/// How often the demo checks how far the worker is.
const LOOK: Duration = Duration::from_millis(200);

/// Run everything at once: mock Kafka broker, PostgreSQL, simulated risk APIs, worker; send
/// claims; check what was promised.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct DemoArgs {
    /// How many events to send
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(claims::FEWEST as i64..=200_000))]
    pub claims: u32,
    /// The seed of events and faults: the same seed gives the same events
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub seed: u64,
    /// Do not kill PostgreSQL
    #[arg(long)]
    pub no_outage: bool,
    /// Keep everything running until Ctrl-C, and print how to look around
    #[arg(long)]
    pub keep: bool,
    /// A new or empty folder for the database and the worker's log, which stays [default:
    /// target/demo/PID, or a temporary one]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// One sentence: what could not be started, or that a promise was broken; which one was printed.
pub async fn run(args: DemoArgs) -> Result<(), String> {
    let mut interrupted = tokio::spawn(service::signalled());
    println!("Starting PostgreSQL, a mock Kafka broker, the simulated risk APIs and the worker …");
    let stage = Stage::set(&args).await?;
    report::introduce(&stage, &args);
    let mut outcome = tokio::select! {
        biased;
        _ = &mut interrupted => Err(INTERRUPTED.to_owned()),
        outcome = play(&stage, &args) => outcome,
    };
    if args.keep && !interrupted.is_finished() {
        report::how_to_look(&stage);
        if let Err(problem) = &outcome {
            println!("But first: {problem}");
        }
        let ended = pin!(worker_ended(&stage));
        tokio::select! {
            _ = &mut interrupted => {}
            problem = ended => outcome = outcome.and(Err(problem)),
        }
    }
    if matches!(&outcome, Err(problem) if problem == INTERRUPTED) {
        stage.strike(false).await?;
        return outcome;
    }
    let log = stage.folder.log();
    let stopped = stage.strike(outcome.is_err()).await;
    outcome
        .and(stopped)
        .map_err(|problem| format!("{problem}\nThe worker's log is {}", log.display()))
}

/// Sends the events, waits until the worker is done with them, and checks the result.
async fn play(stage: &Stage, args: &DemoArgs) -> Result<(), String> {
    let events = claims::generate(usize::try_from(args.claims).unwrap_or(usize::MAX), args.seed);
    let before = cpu::read();
    let start = Instant::now();
    let (sent, outage) = Act::new(stage, events, !args.no_outage).run().await?;
    let measured = Measured { cpu: cpu::since(before.as_ref()), wall: start.elapsed(), outage };
    let evidence = Evidence {
        sent,
        tables: Tables::read(stage.postgres.url()).await?,
        messages: stage.watch.messages(),
        asked: stage.simulator.calls().all(),
        aborts: stage.worker.metric(metrics::PUBLISH_ABORTS.name),
    };
    report::tables(&evidence, &measured);
    questions::ask(stage, &evidence).await?;
    report::promises(&checks::check(evidence))
}

/// Waits until the worker has ended, which it should not.
async fn worker_ended(stage: &Stage) -> String {
    loop {
        if let Err(problem) = stage.worker.check() {
            return problem;
        }
        tokio::time::sleep(LOOK).await;
    }
}
