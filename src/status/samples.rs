//! Parses Prometheus' text format: samples of metrics, by name and labels. Pure.
//!
//! Strict: a line that is neither a sample nor a comment fails the whole text, because figures with
//! missing lines mislead.

use std::collections::BTreeSet;

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a metric sample: {text:?}")]
pub(super) struct SamplesError {
    /// Counted from 1.
    line: usize,
    /// The beginning of the line.
    text: String,
}

/// One value.
#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Sample {
    /// The value of a label.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

/// Labels that a sample must have.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// All values of one answer.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    /// Reads a text.
    pub(super) fn parse(text: &str) -> Result<Self, SamplesError> {
        let lines = text.lines().enumerate();
        let samples = lines
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|(number, line)| sample(line).ok_or_else(|| wrong(number, line)));
        Ok(Self(samples.collect::<Result<_, _>>()?))
    }

    /// The samples of a metric that have these labels.
    pub(super) fn of<'a>(
        &'a self,
        name: &str,
        labels: Labels<'_>,
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(label, value): &(&str, &str)| sample.label(label) == Some(*value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// Their sum; 0 if there are none.
    pub(super) fn sum(&self, name: &str, labels: Labels<'_>) -> f64 {
        total(self.of(name, labels).map(|sample| sample.value))
    }

    /// The largest; 0 if there are none.
    pub(super) fn max(&self, name: &str, labels: Labels<'_>) -> f64 {
        self.of(name, labels).map(|sample| sample.value).fold(0.0, f64::max)
    }

    /// All values of a label of a metric.
    pub(super) fn label_values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        self.of(name, &[]).filter_map(|sample| sample.label(label)).collect()
    }
}

/// A sum that is 0 for no values; the standard library's is −0.
pub(super) fn total(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

fn wrong(number: usize, line: &str) -> SamplesError {
    SamplesError { line: number + 1, text: line.chars().take(60).collect() }
}

/// `name{label="value",…} value [time]`
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|character: char| !is_of_name(character))?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    let time = words.next().map(str::parse::<i64>);
    let is_whole = words.next().is_none() && time.is_none_or(|time| time.is_ok());
    (!name.is_empty() && is_whole).then(|| Sample { name: name.to_owned(), labels, value })
}

/// The labels, and the text after their closing brace.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = unquoted(quoted)?;
        if name.is_empty() || !name.chars().all(is_of_name) {
            return None;
        }
        labels.push((name.to_owned(), value));
        rest = behind.strip_prefix(',').or_else(|| behind.starts_with('}').then_some(behind))?;
    }
}

/// The unescaped value of a label, and the text after its closing quote.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_names_labels_and_values() {
        let text = concat!(
            "# HELP a What it is\n# TYPE a counter\na 3\n\n",
            "b{api=\"x\",le=\"+Inf\"} 1e3 1700000000000\n",
            "b{api=\"a \\\"quoted\\\"\\n\\\\ one\",} NaN\n",
        );
        let samples = Samples::parse(text).expect("a text");
        assert_eq!(samples.sum("a", &[]), 3.0);
        assert_eq!(samples.max("b", &[("api", "x")]), 1000.0);
        assert_eq!(samples.sum("b", &[("api", "y")]), 0.0);
        let values: Vec<&str> = samples.label_values("b", "api").into_iter().collect();
        assert_eq!(values, ["a \"quoted\"\n\\ one", "x"]);
    }

    #[test]
    fn a_line_that_is_no_sample_is_named() {
        for line in [
            "<html>",
            "a",
            "a{b=\"c\"",
            "a{b=c} 1",
            "a{=\"c\"} 1",
            "a{b=\"c\"d=\"e\"} 1",
            "a 1 x",
            "a 1 2 3",
        ] {
            let error = Samples::parse(&format!("a 1\n{line}\n")).expect_err(line);
            assert_eq!(error, SamplesError { line: 2, text: line.to_owned() });
        }
    }
}
