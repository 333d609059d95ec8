//! What is run: contenders, scenarios, rounds, all of them bounded.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::Outcome;
use crate::lab::{Lab, Simulator};
use crate::report::Report;
use crate::run;
use crate::scenario::{Arrival, Contender, Scenario};

/// No run starts after this.
const LAST_START: Duration = Duration::from_secs(20 * 60);

/// Everything that is run.
#[derive(Debug)]
pub(crate) struct Plan {
    scenarios: Vec<Scenario>,
    contenders: Vec<Contender>,
    /// Where the figures go as JSON, if anywhere.
    figures: Option<PathBuf>,
}

impl Plan {
    /// What `CLAIMS`, `ROUNDS`, `LATENCIES`, `CONCURRENCY`, `RATES`, `CONTENDERS` and `FIGURES` ask
    /// for, or the defaults.
    pub(crate) fn from_environment() -> Outcome<Self> {
        let claims = number("CLAIMS", 20_000, 100, 200_000)?;
        let rounds = number("ROUNDS", 3, 1, 20)?;
        let concurrency = number("CONCURRENCY", 64, 1, 10_000)?;
        let mut scenarios = Vec::new();
        for latency in
            text("LATENCIES", "0ms 20ms").split_whitespace().filter(|latency| *latency != "none")
        {
            let latency = humantime::parse_duration(latency)
                .map_err(|error| format!("LATENCIES: {latency:?}: {error}"))?;
            let arrival = Arrival::Waiting;
            scenarios.push(Scenario { claims, arrival, latency, concurrency, rounds });
        }
        for rate in text("RATES", "300 500").split_whitespace().filter(|rate| *rate != "none") {
            let rate: u32 = rate.parse().map_err(|error| format!("RATES: {rate:?}: {error}"))?;
            if !(1..=5_000).contains(&rate) {
                return Err(format!("RATES: {rate} is not within 1 and 5000").into());
            }
            let (arrival, latency) = (Arrival::Steady(rate), Duration::from_millis(20));
            // For ten seconds: the cost of an idle worker's small batches is plain to see.
            let claims = 10 * usize::try_from(rate)?;
            scenarios.push(Scenario { claims, arrival, latency, concurrency, rounds });
        }
        let names = text("CONTENDERS", "raw_loop at_least_once exactly_once");
        let named =
            |contender: &Contender| names.split_whitespace().any(|name| name == contender.name());
        let contenders: Vec<Contender> = Contender::ALL.into_iter().filter(named).collect();
        if contenders.is_empty() || contenders.len() != names.split_whitespace().count() {
            return Err(
                format!("CONTENDERS: there are {:?}", Contender::ALL.map(Contender::name)).into()
            );
        }
        let figures = Some(text("FIGURES", "")).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { scenarios, contenders, figures })
    }

    /// Runs everything, and prints what came of it after each scenario.
    pub(crate) fn run(self) -> Outcome<()> {
        let lab = Lab::from_environment()?;
        let begin = Instant::now();
        let mut figures = Vec::new();
        for (number, scenario) in self.scenarios.iter().enumerate() {
            let simulator = Simulator::start(scenario.latency)?;
            let mut report = Report::new(*scenario, &self.contenders);
            for round in 0..scenario.rounds {
                for contender in self.turn(round) {
                    if begin.elapsed() > LAST_START {
                        let minutes = LAST_START.as_secs() / 60;
                        return Err(format!("{minutes} minutes have passed; ask for less").into());
                    }
                    let name = format!(
                        "bench-{}-{number}-{}-{round}",
                        std::process::id(),
                        contender.name()
                    );
                    let run = run::measure(&lab, &name, contender, scenario, &simulator)?;
                    let (elapsed, cpu) = (run.elapsed.as_secs_f64(), run.usage.cpu.as_secs_f64());
                    eprintln!(
                        "{name}: {} claims in {elapsed:.1} s, {cpu:.2} s of CPU",
                        scenario.claims
                    );
                    report.add(contender, run);
                }
            }
            println!("{report}");
            figures.push(report.json());
            if let Some(path) = &self.figures {
                std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
            }
        }
        println!("measured in {} s", begin.elapsed().as_secs());
        Ok(())
    }

    /// The contenders of a round: in turn, and each round another one first, so that whatever the
    /// machine does meanwhile falls on all of them alike.
    fn turn(&self, round: usize) -> Vec<Contender> {
        let mut contenders = self.contenders.clone();
        contenders.rotate_left(round % self.contenders.len());
        contenders
    }
}

fn text(key: &str, default: &str) -> String {
    std::env::var(key)
        .ok()
        .filter(|value| !value.trim().is_empty())
        .unwrap_or_else(|| default.to_owned())
}

fn number(key: &str, default: usize, least: usize, most: usize) -> Outcome<usize> {
    let value = text(key, &default.to_string());
    let number: usize =
        value.trim().parse().map_err(|error| format!("{key}: {value:?}: {error}"))?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{key}: {number} is not within {least} and {most}").into())
    }
}
