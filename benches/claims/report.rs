//! What is printed: for each scenario a table of contenders, and where their CPU time went.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::lab::CONCURRENCY;
use crate::run::Figures;
use crate::scenario::{Arrival, Contender, Scenario};

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

    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        contender: Contender,
        runs: &[Figures],
    ) -> fmt::Result {
        let cpu = Spread::of(runs.iter().map(|run| self.per_claim(run.usage.cpu)));
        let speed = Spread::of(runs.iter().map(|run| self.claims() / run.elapsed.as_secs_f64()));
        let switches = Spread::of(runs.iter().map(|run| float(run.usage.switches) / self.claims()));
        let ratio = self.ratio(runs).median;
        let ratio = if ratio.is_finite() { format!("{ratio:.2}") } else { "-".to_owned() };
        let memory =
            Spread::of(runs.iter().map(|run| float(run.usage.peak_rss) / f64::from(1 << 20)));
        write!(
            f,
            "{:<15}{:>8.1}{:>8.1}{:>8.1}{:>10}{:>10.0}{:>8.0}{:>8.0}{:>11.2}{:>10.0}",
            contender.name(),
            cpu.least,
            cpu.median,
            cpu.most,
            ratio,
            speed.least,
            speed.median,
            speed.most,
            switches.median,
            memory.most,
        )?;
        if let Some(run) = runs.iter().find(|run| !run.latencies.is_empty()) {
            let at = |share: usize| {
                run.latencies[(run.latencies.len() - 1) * share / 100].as_secs_f64() * 1e3
            };
            write!(f, "{:>11.1}{:>8.1}", at(50), at(99))?;
        }
        writeln!(f)
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
        let Scenario { claims, arrival, latency, rounds } = self.scenario;
        let how = match arrival {
            Arrival::Waiting => "that wait in line".to_owned(),
            Arrival::Steady(rate) => format!("that come {rate} a second"),
        };
        let latency = latency.as_millis();
        writeln!(
            f,
            "{claims} claims {how}; the risk API takes {latency} ms, {CONCURRENCY} calls at once; rounds: {rounds}"
        )?;
        writeln!(
            f,
            "{:<15}{:^24}{:>10}{:>18}{:>8}{:>11}{:>10}",
            "", "CPU µs per claim", "ratio", "claims/s", "", "switches", "peak RSS"
        )?;
        let steady = if matches!(arrival, Arrival::Steady(_)) { "     p50 ms  p99 ms" } else { "" };
        writeln!(
            f,
            "{:<15}{:>8}{:>8}{:>8}{:>10}{:>10}{:>8}{:>8}{:>11}{:>10}{steady}",
            "", "min", "median", "max", "to raw", "min", "median", "max", "per claim", "MiB"
        )?;
        for (contender, runs) in &self.runs {
            self.line(f, *contender, runs)?;
        }
        writeln!(f, "CPU µs per claim, by thread")?;
        for (contender, runs) in &self.runs {
            self.threads(f, *contender, runs)?;
        }
        Ok(())
    }
}

/// A count as a figure.
fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count / 1_024).unwrap_or(u32::MAX)) * 1_024.0
        + f64::from(u32::try_from(count % 1_024).unwrap_or(0))
}
