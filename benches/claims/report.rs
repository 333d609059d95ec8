//! Prints, for each scenario, a table of contenders and where their CPU time went.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fmt, iter};

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::run::Figures;
use crate::scenario::{Arrival, Contender, Scenario};

/// The figures of a run; CPU times are in µs per claim.
#[derive(Debug, Clone, Copy, Serialize)]
struct Row {
    cpu: f64,
    to_raw: f64,
    broker: f64,
    database: f64,
    sum: f64,
    claims_per_second: f64,
    switches: f64,
    peak_rss_mib: f64,
    calls: f64,
    stored_bytes: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// A column of the table: its name, its figure of a run, and the format of all runs.
type Column = (&'static str, fn(&Row) -> f64, fn(&Spread) -> String);

const COLUMNS: [Column; 12] = [
    ("CPU", |row| row.cpu, |spread| spread.told(1)),
    ("to raw", |row| row.to_raw, |spread| figure(spread.median, 2)),
    ("broker", |row| row.broker, |spread| figure(spread.median, 0)),
    ("database", |row| row.database, |spread| figure(spread.median, 0)),
    ("sum", |row| row.sum, |spread| figure(spread.median, 0)),
    ("claims/s", |row| row.claims_per_second, |spread| spread.told(0)),
    ("switches per claim", |row| row.switches, |spread| figure(spread.median, 2)),
    ("peak RSS MiB", |row| row.peak_rss_mib, |spread| figure(spread.most, 0)),
    ("calls per claim", |row| row.calls, |spread| figure(spread.median, 2)),
    ("stored bytes", |row| row.stored_bytes, |spread| figure(spread.median, 0)),
    ("p50 ms", |row| row.p50_ms, |spread| figure(spread.median, 1)),
    ("p99 ms", |row| row.p99_ms, |spread| figure(spread.median, 1)),
];

/// The runs of one scenario.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: Scenario,
    runs: Vec<(Contender, Vec<Figures>)>,
}

/// The least, the median and the greatest of some figures.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        let last = figures.len().saturating_sub(1);
        Self { least: at(0), median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, most: at(last) }
    }

    fn told(&self, digits: usize) -> String {
        let Self { least, median, most } = self;
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

impl Report {
    /// An empty report.
    pub(crate) fn new(scenario: Scenario, contenders: &[Contender]) -> Self {
        Self {
            scenario,
            runs: contenders.iter().map(|contender| (*contender, Vec::new())).collect(),
        }
    }

    /// Adds a contender's next run.
    pub(crate) fn add(&mut self, contender: Contender, figures: Figures) {
        if let Some((_, runs)) = self.runs.iter_mut().find(|(other, _)| *other == contender) {
            runs.push(figures);
        }
    }

    fn per_claim(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.claims()
    }

    fn claims(&self) -> f64 {
        f64::from(u32::try_from(self.scenario.claims).unwrap_or(u32::MAX))
    }

    /// The figures of a contender's runs. The worker's CPU time is divided by that of the raw loop
    /// in the same round.
    fn rows(&self, runs: &[Figures]) -> Vec<Row> {
        let raw = self.runs.iter().find(|(contender, _)| *contender == Contender::RawLoop);
        let raw = raw.map(|(_, runs)| runs.as_slice()).unwrap_or_default();
        runs.iter().enumerate().map(|(round, run)| self.row(run, raw.get(round))).collect()
    }

    fn row(&self, run: &Figures, raw: Option<&Figures>) -> Row {
        let cpu = self.per_claim(run.usage.cpu);
        let of = |spent: Option<Duration>| spent.map_or(f64::NAN, |cpu| self.per_claim(cpu));
        let (broker, database) = (of(run.services.broker), of(run.services.database));
        let latency = |share: usize| {
            let at = run.latencies.len().saturating_sub(1) * share / 100;
            run.latencies.get(at).map_or(f64::NAN, |at| at.as_secs_f64() * 1e3)
        };
        Row {
            cpu,
            to_raw: raw.map_or(f64::NAN, |raw| cpu / self.per_claim(raw.usage.cpu)),
            broker,
            database,
            sum: cpu + broker + database,
            claims_per_second: self.claims() / run.elapsed.as_secs_f64(),
            switches: float(run.usage.switches) / self.claims(),
            peak_rss_mib: float(run.usage.peak_rss) / f64::from(1 << 20),
            calls: run.calls,
            stored_bytes: run.stored_bytes,
            p50_ms: latency(50),
            p99_ms: latency(99),
        }
    }

    /// Every run of every contender as JSON; null where nothing was measured.
    pub(crate) fn json(&self) -> Value {
        let scenario = &self.scenario;
        let rate = match scenario.arrival {
            Arrival::Waiting => None,
            Arrival::Steady(rate) => Some(rate),
        };
        let contenders: Map<String, Value> = self
            .runs
            .iter()
            .map(|(contender, runs)| (contender.name().to_owned(), json!(self.rows(runs))))
            .collect();
        json!({
            "claims": scenario.claims,
            "claims_per_second": rate,
            "latency": scenario.api.latency,
            "transient": scenario.api.transient,
            "concurrency": scenario.concurrency,
            "partitions": scenario.partitions,
            "hot": scenario.hot,
            "contenders": contenders,
        })
    }

    fn threads(
        &self,
        f: &mut fmt::Formatter<'_>,
        contender: Contender,
        runs: &[Figures],
    ) -> fmt::Result {
        let mut names: BTreeMap<&str, f64> = BTreeMap::new();
        for name in runs.iter().flat_map(|run| run.usage.threads.keys()) {
            let figures = runs.iter().map(|run| {
                self.per_claim(run.usage.threads.get(name).copied().unwrap_or_default())
            });
            names.insert(name, Spread::of(figures).median);
        }
        let mut shares: Vec<_> = names.into_iter().filter(|(_, share)| *share >= 0.05).collect();
        shares.sort_unstable_by(|one, other| other.1.total_cmp(&one.1));
        let shares: Vec<String> =
            shares.into_iter().map(|(name, share)| format!("{name} {share:.1}")).collect();
        writeln!(f, "{:<15}{}", contender.name(), shares.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        let mut table = Table::new();
        let names = COLUMNS.iter().map(|(name, ..)| *name);
        table.load_preset(ASCII_MARKDOWN).set_header(iter::once("contender").chain(names));
        for (contender, runs) in &self.runs {
            let rows = self.rows(runs);
            let cells =
                COLUMNS.iter().map(|(_, get, tell)| tell(&Spread::of(rows.iter().map(get))));
            table.add_row(iter::once(contender.name().to_owned()).chain(cells));
        }
        writeln!(f, "\n{table}\n")?;
        writeln!(f, "CPU µs per claim, by thread")?;
        for (contender, runs) in &self.runs {
            self.threads(f, *contender, runs)?;
        }
        Ok(())
    }
}

/// A figure with this many digits, if there is one.
fn figure(figure: f64, digits: usize) -> String {
    if figure.is_finite() { format!("{figure:.digits$}") } else { "-".to_owned() }
}

/// A count as a figure.
pub(crate) fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count / 1_024).unwrap_or(u32::MAX)) * 1_024.0
        + f64::from(u32::try_from(count % 1_024).unwrap_or(0))
}
