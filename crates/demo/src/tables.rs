//! The tables of the report: decisions, calls and times. Pure.

use super::claims::Expected;
use super::evidence::Evidence;
use claimgate::decision::Decision;
use claimgate::intake::header;
use claimgate::schema::{Call, Verdict};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, Table};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// How long the backlog of the outage may take, in microseconds: claims that come in this time wait
/// behind it.
const CATCH_UP: i64 = 1_000_000;

/// A table with these columns; numbers are right-aligned.
pub(super) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(columns.to_vec());
    table
}

/// A number's cell.
pub(super) fn number(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

pub(super) fn decisions(verdicts: &[Verdict]) -> Table {
    let mut kinds: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for row in verdicts {
        let found = Decision::ALL.iter().position(|decision| *decision == row.decision);
        kinds.entry(&row.kind).or_default()[found.unwrap_or(0)] += 1;
    }
    let words = Decision::ALL.map(Decision::as_str);
    let mut table = table(&["kind", words[0], words[1], words[2], words[3], "all"]);
    let mut sums = [0; 4];
    for (kind, counts) in &kinds {
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        table.add_row(row(kind, counts));
    }
    table.add_row(row("all", &sums));
    table
}

fn row(name: &str, counts: &[usize]) -> Vec<Cell> {
    let sum = counts.iter().sum::<usize>();
    std::iter::once(Cell::new(name)).chain(counts.iter().chain([&sum]).map(number)).collect()
}

/// Per API: claims, calls, of these repeated ones, and how the calls ended.
pub(super) fn calls(calls: &[Call], verdicts: &[Verdict]) -> Table {
    const OUTCOMES: [&str; 5] =
        ["assessed", "transient", "unknown", "unassessable", "access_denied"];
    let mut apis: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    let mut repeated: HashMap<&str, usize> = HashMap::new();
    for call in calls {
        let found = OUTCOMES.iter().position(|outcome| *outcome == call.outcome);
        apis.entry(&call.api).or_default()[found.unwrap_or(1)] += 1;
        *repeated.entry(&call.api).or_default() += usize::from(call.attempt > 1);
    }
    let mut table = table(&[
        "API",
        "claims",
        "calls",
        "of them retries",
        "verdict",
        "transient",
        "no answer",
        "unassessable",
        "unassessed claims",
    ]);
    for (api, outcomes) in &apis {
        let of_api = || verdicts.iter().filter(|row| row.api == *api);
        let unassessed = of_api().filter(|row| super::checks::is_unassessed(row)).count();
        let [verdict, transient, unknown, refused, configuration] = outcomes;
        let numbers = [
            of_api().count(),
            outcomes.iter().sum(),
            repeated[api],
            *verdict,
            *transient,
            *unknown,
            refused + configuration,
            unassessed,
        ];
        table.add_row(std::iter::once(Cell::new(api)).chain(numbers.map(number)));
    }
    table
}

pub(super) fn dead_letters(evidence: &Evidence) -> Table {
    let mut errors: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
    for row in &evidence.tables.dead_letters {
        let (count, fields) = errors.entry(&row.error).or_default();
        *count += 1;
        if let Some(field) = row.error_field.as_deref().filter(|field| !fields.contains(field)) {
            fields.push(field);
        }
    }
    let mut table = table(&["error", "events", "fields"]);
    for (error, (count, fields)) in errors {
        table.add_row([Cell::new(error), number(count), Cell::new(fields.join(", "))]);
    }
    table
}

pub(super) fn latencies(evidence: &Evidence, outage: Option<&Range<i64>>) -> Table {
    let deferred: HashSet<&[u8]> = evidence
        .messages
        .deferred
        .iter()
        .filter_map(|message| header(&message.headers, "claimgate-source"))
        .collect();
    let attempts: HashMap<&str, u32> =
        evidence.tables.verdicts.iter().map(|row| (row.claim_id.as_str(), row.attempts)).collect();
    let mut seen: HashMap<String, i64> = HashMap::new();
    for message in &evidence.messages.decisions {
        let claim_id = message.json()["claim_id"].as_str().unwrap_or_default().to_owned();
        seen.entry(claim_id).or_insert(message.seen_at);
    }
    let touched =
        |from, until| outage.is_some_and(|away| from < away.end + CATCH_UP && until > away.start);
    let mut times: [Vec<i64>; 5] = Default::default();
    for sent in &evidence.sent {
        let Expected::Decision(claim) = &sent.event.expected else { continue };
        let Some(seen_at) = seen.get(&claim.claim_id) else { continue };
        let is_deferred = deferred.contains(sent.source.to_string().as_bytes());
        let retried = attempts.get(claim.claim_id.as_str()).is_some_and(|attempts| *attempts > 1);
        let class = match (is_deferred, retried, touched(sent.sent_at, *seen_at)) {
            (true, ..) => 4,
            (_, _, true) => 3,
            (_, retried, _) => 1 + usize::from(retried),
        };
        times[0].push(seen_at - sent.sent_at);
        times[class].push(seen_at - sent.sent_at);
    }
    let mut table = table(&["claims", "", "p50 ms", "p95 ms", "p99 ms", "max ms"]);
    for (name, mut times) in [
        "all",
        "decided by the first attempt",
        "retried",
        "while PostgreSQL was away, or just back",
        "deferred",
    ]
    .into_iter()
    .zip(times)
    {
        times.sort_unstable();
        let at = |share| {
            percentile(&times, share)
                .map_or_else(String::new, |micros| format!("{:.1}", micros as f64 / 1_000.0))
        };
        if times.is_empty() {
            continue;
        }
        let cells = [50, 95, 99, 100].map(|share| number(at(share)));
        table.add_row([Cell::new(name), number(times.len())].into_iter().chain(cells));
    }
    table
}

/// The percentile of sorted values.
fn percentile(sorted: &[i64], of_a_hundred: usize) -> Option<i64> {
    let rank = (sorted.len() * of_a_hundred).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<i64> = (1..=200).collect();
        assert_eq!(
            [50, 95, 99, 100].map(|share| percentile(&times, share)),
            [100, 190, 198, 200].map(Some)
        );
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }
}
