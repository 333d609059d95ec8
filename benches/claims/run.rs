//! One run: a contender decides every claim of a scenario, and the run measures what it uses.
//!
//! The clock starts when the contender has started, has decided some claims to warm up, and is idle
//! again. It stops when the last decision was seen. So all the work for a claim is measured.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;

use crate::events::{Producer, claim_id};
use crate::lab::{Lab, Process, Simulator, World, claimgate, command};
use crate::observer::Observer;
use crate::process::Usage;
use crate::report::float;
use crate::scenario::{Arrival, Contender, Scenario};
use crate::services::Services;
use crate::{Outcome, RAW_LOOP};

/// Claims that are decided before the clock starts.
const WARM_UP: usize = 1_000;
/// How long a contender may take to start and warm up.
const START_WITHIN: Duration = Duration::from_secs(60);
/// The longest time without a decision.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// The pause before the first claim and after the last decision, in which other work, such as a
/// commit, ends.
const SETTLE: Duration = Duration::from_millis(300);

/// The result of a run.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// What the process used.
    pub(crate) usage: Usage,
    /// What broker and database used, including the observer's reads.
    pub(crate) services: Services,
    /// From the moment when the first claim could be read to the last decision.
    pub(crate) elapsed: Duration,
    /// The time of each claim from its sending to its decision, shortest first; empty if claims
    /// waited in line.
    pub(crate) latencies: Vec<Duration>,
    /// Recorded calls of the risk API per claim.
    pub(crate) calls: f64,
    /// Bytes per claim in PostgreSQL, indexes included.
    pub(crate) stored_bytes: f64,
}

/// Runs a contender with its own topics and database.
pub(crate) fn measure(
    lab: &Lab,
    name: &str,
    contender: Contender,
    scenario: &Scenario,
    simulator: &Simulator,
) -> Outcome<Figures> {
    let folder = tempfile::tempdir()?;
    let world = lab.world(name, scenario.partitions)?;
    let config = folder.path().join("bench.toml");
    std::fs::write(&config, world.configuration(contender, scenario, simulator))?;
    let log = folder.path().join("log");
    let process = start(contender, &config, &log)?;
    let mut run = Run {
        process,
        observer: Observer::new(&lab.kafka, &world.topic("decisions"), scenario.partitions)?,
        lab,
        world,
    };
    let figures = run.figures(scenario).map_err(|error| {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let last = log.lines().count().saturating_sub(10);
        format!(
            "{name}: no figure: {error}\n{}",
            log.lines().skip(last).collect::<Vec<_>>().join("\n")
        )
    })?;
    run.process.stop()?;
    Ok(figures)
}

fn start(contender: Contender, config: &Path, log: &Path) -> Outcome<Process> {
    let folder = config.parent().ok_or("the configuration is in no folder")?;
    let migrated =
        command(claimgate()?, folder).arg("--config").arg(config).arg("migrate").output()?;
    if !migrated.status.success() {
        return Err(
            format!("the migrations fail: {}", String::from_utf8_lossy(&migrated.stderr)).into()
        );
    }
    let mut command = if contender == Contender::RawLoop {
        let mut command = command(std::env::current_exe()?, folder);
        command.arg(RAW_LOOP).arg(config);
        command
    } else {
        let mut command = command(claimgate()?, folder);
        command.arg("--config").arg(config).arg("run");
        command
    };
    Process::start(contender.name(), command.stdout(Stdio::null()).stderr(File::create(log)?))
}

/// When this is dropped, the process ends first; then its topics and database are deleted.
struct Run<'a> {
    process: Process,
    observer: Observer,
    lab: &'a Lab,
    world: World<'a>,
}

impl Run<'_> {
    fn figures(&mut self, scenario: &Scenario) -> Outcome<Figures> {
        let topic = self.world.topic("claims");
        let producer = Producer::plain(&self.lab.kafka, topic.clone())?;
        for number in 0..WARM_UP {
            producer.send("warm", number)?;
        }
        producer.flush()?;
        self.until_decided(WARM_UP, START_WITHIN)?;
        let mut figures = match scenario.arrival {
            Arrival::Waiting => {
                let mut producer = Producer::hiding(&self.lab.kafka, topic)?;
                producer.hot_every = scenario.claims.checked_div(scenario.hot);
                self.waiting(&producer, scenario.claims)?
            }
            Arrival::Steady(rate) => self.steady(&producer, scenario.claims, rate)?,
        };
        let calls = self.verify(scenario)?;
        let claims = f64::from(u32::try_from(WARM_UP + scenario.claims)?);
        figures.calls = float(calls) / claims;
        figures.stored_bytes = float(self.world.stored_bytes()?) / claims;
        Ok(figures)
    }

    /// All claims are in the topic before the clock starts; the end of their transaction makes them
    /// visible at once.
    fn waiting(&mut self, producer: &Producer, claims: usize) -> Outcome<Figures> {
        for number in 0..claims {
            producer.send("run", number)?;
        }
        producer.flush()?;
        std::thread::sleep(SETTLE);
        let before = self.spent()?;
        producer.show()?;
        let begin = Instant::now();
        self.until_decided(WARM_UP + claims, STALLED_AFTER)?;
        self.end(&before, begin, Vec::new())
    }

    /// Claims come one by one at a steady pace.
    fn steady(&mut self, producer: &Producer, claims: usize, rate: u32) -> Outcome<Figures> {
        std::thread::sleep(SETTLE);
        let before = self.spent()?;
        let begin = Instant::now();
        let mut sent = Vec::with_capacity(claims);
        while sent.len() < claims {
            let due = begin + Duration::from_secs(1) * u32::try_from(sent.len())? / rate;
            if Instant::now() >= due {
                producer.send("run", sent.len())?;
                sent.push(Instant::now());
            }
            producer.poll();
            self.observer.look(Duration::ZERO)?;
            // rdkafka would spin during such a short wait.
            std::thread::sleep(Duration::from_micros(500));
        }
        self.until_decided(WARM_UP + claims, STALLED_AFTER)?;
        let decided = |(number, sent): (usize, &Instant)| {
            let at = self.observer.decided_at(&claim_id("run", number));
            at.map(|at| at - *sent).ok_or_else(|| format!("claim {number} was not decided"))
        };
        let mut latencies = sent.iter().enumerate().map(decided).collect::<Result<Vec<_>, _>>()?;
        latencies.sort_unstable();
        self.end(&before, begin, latencies)
    }

    fn end(
        &self,
        before: &(Usage, Services),
        begin: Instant,
        latencies: Vec<Duration>,
    ) -> Outcome<Figures> {
        std::thread::sleep(SETTLE);
        let (usage, services) = self.spent()?;
        let last = self.observer.last().ok_or("no decision was seen")?;
        Ok(Figures {
            usage: usage.since(&before.0),
            services: services.since(before.1),
            elapsed: last - begin,
            latencies,
            calls: f64::NAN,
            stored_bytes: f64::NAN,
        })
    }

    fn spent(&self) -> Outcome<(Usage, Services)> {
        Ok((Usage::of(self.process.id())?, Services::now()?))
    }

    /// Watches the output topic until this many claims have decisions.
    fn until_decided(&mut self, claims: usize, patience: Duration) -> Outcome<()> {
        let (mut decided, mut since) = (0, Instant::now());
        while self.observer.decided() < claims {
            self.observer.look(Duration::from_millis(50))?;
            self.process.check()?;
            if self.observer.decided() > decided {
                (decided, since) = (self.observer.decided(), Instant::now());
            } else if since.elapsed() > patience {
                let stalled = format!("{decided} of {claims} claims are decided, and no more are");
                return Err(format!("{stalled} within {patience:?}").into());
            }
        }
        Ok(())
    }

    /// Checks that every claim that was sent, by its id, has its decision and its rows once.
    /// Returns the number of recorded calls.
    fn verify(&mut self, scenario: &Scenario) -> Outcome<u64> {
        let claims = scenario.claims;
        self.observer.look(SETTLE)?;
        let sent = (0..WARM_UP)
            .map(|number| claim_id("warm", number))
            .chain((0..claims).map(|number| claim_id("run", number)));
        let undecided = sent.filter(|id| self.observer.decided_at(id).is_none()).count();
        let strangers = self.observer.decided() + undecided - WARM_UP - claims;
        let repeated = self.observer.repeated();
        if undecided + strangers + repeated > 0 {
            return Err(format!(
                "{undecided} claims undecided, {repeated} decided twice, {strangers} never sent"
            )
            .into());
        }
        let (verdicts, calls) = (self.world.rows("verdicts")?, self.world.rows("risk_calls")?);
        let claims = u64::try_from(WARM_UP + claims)?;
        if verdicts != claims || calls < claims || (scenario.api.is_steady() && calls > claims) {
            return Err(format!("{verdicts} verdicts and {calls} calls of {claims} claims").into());
        }
        Ok(calls)
    }
}
