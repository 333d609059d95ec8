//! What changed at a worker between two answers, as counts and as rates per second. Pure.

use super::samples::{Labels, Samples};

/// Two answers of one worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval<'a> {
    pub(super) before: &'a Samples,
    pub(super) after: &'a Samples,
    /// The time between them.
    pub(super) seconds: f64,
}

impl Interval<'_> {
    /// How much a counter grew. A counter that fell belongs to a process that was restarted: it
    /// counts from 0.
    pub(super) fn grown(&self, name: &str, labels: Labels<'_>) -> f64 {
        let (before, after) = (self.before.sum(name, labels), self.after.sum(name, labels));
        if after < before { after } else { after - before }
    }

    /// The same per second.
    pub(super) fn per_second(&self, name: &str, labels: Labels<'_>) -> f64 {
        if self.seconds > 0.0 { self.grown(name, labels) / self.seconds } else { 0.0 }
    }

    /// The values that were recorded into a histogram.
    pub(super) fn buckets(&self, histogram: &str, labels: Labels<'_>) -> Buckets {
        let name = format!("{histogram}_bucket");
        let mut buckets = Buckets::default();
        for sample in self.after.of(&name, labels) {
            let Some(bound) = sample.label("le") else { continue };
            let Ok(upper) = bound.parse() else { continue };
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
            buckets.add(upper, self.grown(&name, &labels));
        }
        buckets
    }
}

/// How many values of a histogram are at or below each bound, in the order of the bounds.
#[derive(Debug, Default)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Adds this many values at or below this bound.
    pub(super) fn add(&mut self, upper: f64, count: f64) {
        match self.0.binary_search_by(|(bound, _)| bound.total_cmp(&upper)) {
            Ok(place) => self.0[place].1 += count,
            Err(place) => self.0.insert(place, (upper, count)),
        }
    }

    /// Adds the values of another histogram with the same bounds.
    pub(super) fn append(&mut self, other: &Self) {
        for (upper, count) in &other.0 {
            self.add(*upper, *count);
        }
    }

    /// The value below which this part of all values lies, as exactly as the bounds allow; `None`
    /// if there are no values. Values above the highest bound count as equal to it.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let all = self.0.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let rank = part * all;
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, count) in &self.0 {
            if *count >= rank && *count > below {
                let within = lower + (upper - lower) * (rank - below) / (count - below);
                return Some(if upper.is_finite() { within } else { lower });
            }
            (lower, below) = (*upper, *count);
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(text: &str) -> Samples {
        Samples::parse(text).expect("samples")
    }

    #[test]
    fn a_rate_is_what_a_counter_grew_by_in_the_interval() {
        let (before, after) = (samples("a{b=\"x\"} 3\nc 9\n"), samples("a{b=\"x\"} 7\nc 2\nd 5\n"));
        let interval = Interval { before: &before, after: &after, seconds: 2.0 };
        assert_eq!(interval.per_second("a", &[("b", "x")]), 2.0);
        assert_eq!(interval.grown("c", &[]), 2.0, "it began anew");
        assert_eq!(interval.grown("d", &[]), 5.0, "it is new");
        let at_once = Interval { seconds: 0.0, ..interval };
        assert_eq!(at_once.per_second("a", &[]), 0.0);
    }

    #[test]
    fn a_quantile_is_that_of_the_interval() {
        let text = |counts: [u32; 3]| {
            let bounds = ["0.1", "0.5", "+Inf"].into_iter().zip(counts);
            let lines = bounds.map(|(le, count)| format!("h_bucket{{le=\"{le}\"}} {count}\n"));
            samples(&lines.collect::<String>())
        };
        let (before, after) = (text([100, 100, 100]), text([100, 108, 110]));
        let interval = Interval { before: &before, after: &after, seconds: 1.0 };
        let buckets = interval.buckets("h", &[]);
        assert_eq!(buckets.quantile(0.5), Some(0.1 + 0.4 * 5.0 / 8.0));
        assert_eq!(buckets.quantile(0.99), Some(0.5), "more than that is not known");
        let nothing = Interval { before: &after, ..interval };
        assert_eq!(nothing.buckets("h", &[]).quantile(0.5), None);
    }
}
