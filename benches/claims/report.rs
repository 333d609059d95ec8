//! What is printed: for each scenario a table of contenders, and where their CPU time went.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

use crate::run::Figures;
use crate::scenario::{Arrival, Contender, Scenario};

/// CPU times are in µs per claim, medians with the least and the greatest in brackets.
const HEADER: [&str; 11] = [
    "contender",
    "CPU",
    "to raw",
    "broker",
    "database",
    "sum",
    "claims/s",
    "switches per claim",
    "peak RSS MiB",
    "p50 ms",
    "p99 ms",
];

/// The runs of one scenario.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: Scenario,
    runs: Vec<(Contender, Vec<Figures>)>,
}

/// The least, the middle and the greatest of some figures.
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
    /// A report of what will be added to it.
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

    /// CPU time as a multiple of the raw loop's in the same round.
    fn ratio(&self, runs: &[Figures]) -> Spread {
        let raw = self.runs.iter().find(|(contender, _)| *contender == Contender::RawLoop);
        let raw = raw.map(|(_, runs)| runs.as_slice()).unwrap_or_default();
        Spread::of(
            runs.iter()
                .zip(raw)
                .map(|(run, raw)| run.usage.cpu.as_secs_f64() / raw.usage.cpu.as_secs_f64()),
        )
    }

    fn row(&self, contender: Contender, runs: &[Figures]) -> Vec<String> {
        let cpu = Spread::of(runs.iter().map(|run| self.per_claim(run.usage.cpu)));
        let speed = Spread::of(runs.iter().map(|run| self.claims() / run.elapsed.as_secs_f64()));
        let switches = Spread::of(runs.iter().map(|run| float(run.usage.switches) / self.claims()));
        let memory =
            Spread::of(runs.iter().map(|run| float(run.usage.peak_rss) / f64::from(1 << 20)));
        let of = |spent: fn(&Figures) -> Option<Duration>| {
            let spent =
                runs.iter().map(|run| spent(run).map_or(f64::NAN, |cpu| self.per_claim(cpu)));
            figure(Spread::of(spent).median, 0)
        };
        let latency = |share: usize| {
            let mut all: Vec<Duration> =
                runs.iter().flat_map(|run| run.latencies.clone()).collect();
            all.sort_unstable();
            let at = all.len().saturating_sub(1) * share / 100;
            figure(all.get(at).map_or(f64::NAN, |at| at.as_secs_f64() * 1e3), 1)
        };
        vec![
            contender.name().to_owned(),
            cpu.told(1),
            figure(self.ratio(runs).median, 2),
            of(|run| run.services.broker),
            of(|run| run.services.database),
            of(|run| Some(run.usage.cpu + run.services.broker? + run.services.database?)),
            speed.told(0),
            figure(switches.median, 2),
            figure(memory.most, 0),
            latency(50),
            latency(99),
        ]
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
        let Scenario { claims, arrival, latency, concurrency, rounds } = self.scenario;
        let how = match arrival {
            Arrival::Waiting => "that wait in line".to_owned(),
            Arrival::Steady(rate) => format!("that come {rate} a second"),
        };
        let latency = latency.as_millis();
        writeln!(
            f,
            "{claims} claims {how}; the risk API takes {latency} ms, {concurrency} calls at once; rounds: {rounds}"
        )?;
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header(HEADER);
        for (contender, runs) in &self.runs {
            table.add_row(self.row(*contender, runs));
        }
        writeln!(f, "\n{table}\n")?;
        writeln!(f, "CPU µs per claim, by thread")?;
        for (contender, runs) in &self.runs {
            self.threads(f, *contender, runs)?;
        }
        Ok(())
    }
}

/// A figure in so many digits, where there is one.
fn figure(figure: f64, digits: usize) -> String {
    if figure.is_finite() { format!("{figure:.digits$}") } else { "-".to_owned() }
}

/// A count as a figure.
fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count / 1_024).unwrap_or(u32::MAX)) * 1_024.0
        + f64::from(u32::try_from(count % 1_024).unwrap_or(0))
}
