//! What is run: contenders, scenarios, rounds, all of them bounded.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use claimgate::assess::egress::HTTP2_CONNECTIONS_MAX;
use tokio::time::Instant;

use crate::Outcome;
use crate::lab::{Lab, Simulator};
use crate::report::Report;
use crate::run;
use crate::scenario::{Arrival, Contender, RiskApi, Scenario, Transport};

/// No run starts after this.
const LAST_START: Duration = Duration::from_secs(20 * 60);

/// Everything that is run.
#[derive(Debug)]
pub(crate) struct Plan {
    scenarios: Vec<Scenario>,
    contenders: Vec<Contender>,
    /// The file for the figures as JSON, if there is one.
    figures: Option<PathBuf>,
}

impl Plan {
    /// Reads the plan from the environment (`docs/performance.md` has the list), with defaults.
    pub(crate) fn from_environment() -> Outcome<Self> {
        let claims = number("CLAIMS", 20_000, 100, 2_000_000)?;
        let transient = number("TRANSIENT", 0.0, 0.0, 0.5)?;
        let connections = number("HTTP2_CONNECTIONS", 0, 0, HTTP2_CONNECTIONS_MAX)?;
        let transport = match (number("TLS", 0, 0, 1)?, connections) {
            (0, 0) => Transport::Plain,
            (_, 0) => Transport::Tls,
            (_, connections) => Transport::Http2(connections),
        };
        let usual = Scenario {
            claims,
            arrival: Arrival::Waiting,
            api: RiskApi { latency: "20ms".to_owned(), transient, transport },
            concurrency: number("CONCURRENCY", 64, 1, 10_000)?,
            partitions: number("PARTITIONS", 6, 1, 96)?,
            hot: number("HOT", 0, 0, claims)?,
            rounds: number("ROUNDS", 3, 1, 20)?,
        };
        let mut scenarios = Vec::new();
        for latency in
            text("LATENCIES", "0ms 20ms").split_whitespace().filter(|latency| *latency != "none")
        {
            let api = RiskApi { latency: latency.to_owned(), transient, transport };
            scenarios.push(Scenario { api, ..usual.clone() });
        }
        for rate in text("RATES", "300 500").split_whitespace().filter(|rate| *rate != "none") {
            let rate: u32 = within("RATES", rate, 1, 5_000)?;
            // For ten seconds: long enough to see the cost of small batches.
            let claims = 10 * usize::try_from(rate)?;
            scenarios.push(Scenario { claims, arrival: Arrival::Steady(rate), ..usual.clone() });
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

    /// Runs everything, and prints the results after each scenario.
    pub(crate) fn run(self) -> Outcome<()> {
        let lab = Lab::from_environment()?;
        let begin = Instant::now();
        let mut figures = Vec::new();
        for (number, scenario) in self.scenarios.iter().enumerate() {
            let simulator = Simulator::start(&scenario.api)?;
            let mut report = Report::new(scenario.clone(), &self.contenders);
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

    /// The order of contenders in a round: each round another one is first, so that other load on
    /// the machine affects all of them alike.
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

fn number<T>(key: &str, default: T, least: T, most: T) -> Outcome<T>
where
    T: FromStr<Err: Display> + PartialOrd + Display + Copy,
{
    within(key, &text(key, &default.to_string()), least, most)
}

fn within<T>(key: &str, value: &str, least: T, most: T) -> Outcome<T>
where
    T: FromStr<Err: Display> + PartialOrd + Display + Copy,
{
    let number: T = value.trim().parse().map_err(|error| format!("{key}: {value:?}: {error}"))?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{key}: {number} is not within {least} and {most}").into())
    }
}
