//! What is printed: what runs, how it went, whether the promises were kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, Table};

use super::DemoArgs;
use super::checks::Promise;
use super::claims::Expected;
use super::cpu::Spent;
use super::evidence::Evidence;
use super::stage::Stage;
use super::worker::{GIVE_UP_AFTER, IN_PROCESS_FOR};
use claimgate::decision::Decision;
use claimgate::intake::header;
use claimgate::schema::{Call, Verdict};

/// How long the backlog of the outage may take, in microseconds: claims that come meanwhile wait
/// behind it.
const CATCH_UP: i64 = 1_000_000;
/// How many broken promises of one sort are told.
const TOLD: usize = 5;

/// What was measured while the claims went through.
pub(super) struct Measured {
    pub(super) cpu: Option<Spent>,
    pub(super) wall: Duration,
    /// From when until when PostgreSQL was away, UNIX microseconds.
    pub(super) outage: Option<Range<i64>>,
}

/// Says what runs.
pub(super) fn introduce(stage: &Stage, args: &DemoArgs) {
    println!(
        "
  Kafka        librdkafka's stand-in, in this process, at {}; it does no transactions, so guarantee = \"at_least_once\"
  PostgreSQL   {}
  risk APIs    simulated, in this process, at {}; 8 to 30 ms an answer, a few percent of them faults
  worker       as `claimgate run`, on a thread of this process; its log is {}

Sending {} events (--seed {}): claims of every kind, some of them troublesome, some twice, and events that are none.",
        stage.kafka.bootstrap_servers,
        stage.postgres.url(),
        stage.simulator.base_url(),
        stage.folder.log().display(),
        args.claims,
        args.seed,
    );
}

/// Says where to look while everything runs on.
pub(super) fn how_to_look(stage: &Stage) {
    let (kafka, simulator) = (&stage.kafka, stage.simulator.base_url());
    println!(
        "
Everything runs on. Look at it, and end it with Ctrl-C.

  psql {}
  kcat -b {} -C -o beginning -f '%k %s\\n' -t {}      (also: {}, {})
  curl {simulator}/control/stats                     (also: /control/calls, and PUT /control/faults; docs/simulator.md)
  curl http://{}/metrics                  (also: /livez, /readyz)
  less {}
  PostgreSQL once more: bash {} kill|start {}",
        stage.postgres.url(),
        kafka.bootstrap_servers,
        kafka.output_topic,
        kafka.dead_letter_topic,
        kafka.input_topic,
        stage.endpoints,
        stage.folder.log().display(),
        stage.folder.path().join("scripts/postgres.sh").display(),
        stage.postgres.server().folder().display(),
    );
}

/// Prints how it went.
pub(super) fn tables(evidence: &Evidence, measured: &Measured) {
    section("What was decided");
    println!("{}", decisions(&evidence.tables.verdicts));
    section("What the risk APIs were asked");
    println!("{}", calls(&evidence.tables.calls, &evidence.tables.verdicts));
    let deferred = evidence.messages.deferred.len();
    println!(
        "Claims were deferred in the retry topic {deferred} times: those that no API would assess for {IN_PROCESS_FOR}."
    );
    section("What was no claim");
    println!("{}", dead_letters(evidence));
    let skipped = evidence
        .sent
        .iter()
        .filter(|sent| matches!(sent.event.expected, Expected::Repeat { same: true, .. }))
        .count();
    println!(
        "Besides, {skipped} events said again what a claim had said before: they were skipped."
    );
    section("From an event's arrival in Kafka to a consumer's seeing its decision");
    println!("{}", latencies(evidence, measured.outage.as_ref()));
    section("What it cost");
    print_cost(evidence.sent.len(), measured);
}

/// Starts a part of the report.
pub(super) fn section(title: &str) {
    println!("\n{title}");
}

/// A table with these columns; numbers stand to the right.
pub(super) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(columns.to_vec());
    table
}

/// A number's cell.
pub(super) fn number(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

fn decisions(verdicts: &[Verdict]) -> Table {
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
fn calls(calls: &[Call], verdicts: &[Verdict]) -> Table {
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

fn dead_letters(evidence: &Evidence) -> Table {
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

fn latencies(evidence: &Evidence, outage: Option<&Range<i64>>) -> Table {
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

/// The value that so many of a hundred sorted values do not exceed.
fn percentile(sorted: &[i64], of_a_hundred: usize) -> Option<i64> {
    let rank = (sorted.len() * of_a_hundred).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

fn print_cost(events: usize, measured: &Measured) {
    let wall = measured.wall.as_secs_f64();
    println!(
        "{events} events in {wall:.1} s: they were sent over 8 s or more, and the last hopeless claim was given up on {GIVE_UP_AFTER} later or more."
    );
    let Some(Spent { whole, worker, librdkafka }) = measured.cpu else {
        println!("CPU time can be read on Linux only.");
        return;
    };
    let each = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1_000.0 / events as f64);
    let rest = whole.saturating_sub(worker + librdkafka);
    println!(
        "CPU time per event, of this process: {}. That is more than a worker costs, for it is",
        each(whole)
    );
    println!("  {:>8}  the worker's loop, consumer and publisher", each(worker));
    println!(
        "  {:>8}  librdkafka: the worker's clients, and also the demo's and the stand-in broker",
        each(librdkafka)
    );
    println!("  {:>8}  the simulated risk APIs and the demo itself", each(rest));
    if cfg!(debug_assertions) {
        println!("This is a debug build: a release build needs a fraction of it.");
    }
}

/// Prints which promises were kept.
///
/// # Errors
/// One sentence, if any was broken.
pub(super) fn promises(promises: &[Promise]) -> Result<(), String> {
    section("What was promised");
    for promise in promises {
        let word = if promise.broken.is_empty() { "kept  " } else { "BROKEN" };
        println!("  {word}  {} ({} compared)", promise.text, promise.compared);
        for broken in promise.broken.iter().take(TOLD) {
            println!("            {broken}");
        }
        if promise.broken.len() > TOLD {
            println!("            and {} more", promise.broken.len() - TOLD);
        }
    }
    match promises.iter().filter(|promise| !promise.broken.is_empty()).count() {
        0 => Ok(()),
        broken => Err(format!("{broken} of {} promises were broken; see above", promises.len())),
    }
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
