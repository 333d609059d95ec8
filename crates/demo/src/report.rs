//! Prints what runs, the results, and whether the guarantees held.

use std::ops::Range;
use std::time::Duration;

use super::DemoArgs;
use super::checks::Promise;
use super::claims::Expected;
use super::cpu::Spent;
use super::evidence::Evidence;
use super::stage::Stage;
use super::tables::{calls, dead_letters, decisions, latencies};
use super::traffic::Sent;
use super::worker::{GIVE_UP_AFTER, IN_PROCESS_FOR};

/// The most faults of one guarantee that are printed.
const TOLD: usize = 5;

/// What was measured while the claims went through.
pub(super) struct Measured {
    pub(super) cpu: Option<Spent>,
    pub(super) wall: Duration,
    /// From when until when PostgreSQL was away, UNIX microseconds.
    pub(super) outage: Option<Range<i64>>,
}

/// Prints what runs.
pub(super) fn introduce(stage: &Stage, args: &DemoArgs) {
    println!(
        "
  Kafka        librdkafka's mock broker, in this process, at {}; it has no transactions, \
    so guarantee = \"at_least_once\"
  PostgreSQL   {}
  risk APIs    simulated, in this process, at {}; 8 to 30 ms an answer, a few percent of them faults
  worker       as `claimgate run`, on a thread of this process; its log is {}

Sending {} events (--seed {}): claims of every kind, some with API faults, \
some sent twice, and malformed events.",
        stage.kafka.bootstrap_servers,
        stage.postgres.url(),
        stage.simulator.base_url(),
        stage.folder.log().display(),
        args.claims,
        args.seed,
    );
}

/// Prints where to look while everything keeps running.
pub(super) fn how_to_look(stage: &Stage) {
    let (kafka, simulator) = (&stage.kafka, stage.simulator.base_url());
    println!(
        "
Everything keeps running. Look around; Ctrl-C ends it.

  psql {}
  kcat -b {} -C -o beginning -f '%k %s\\n' -t {}      (also: {}, {})
  curl {simulator}/control/stats                     (also: /control/calls, and \
    PUT /control/faults; docs/simulator.md)
  curl http://{}/metrics                  (also: /livez, /readyz)
  less {}
  Kill and start PostgreSQL again: bash {} kill|start {}",
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

/// Prints the results.
pub(super) fn tables(evidence: &Evidence, measured: &Measured) {
    section("What was decided");
    println!("{}", decisions(&evidence.tables.verdicts));
    section("Calls of the risk APIs");
    println!("{}", calls(&evidence.tables.calls, &evidence.tables.verdicts));
    let deferred = evidence.messages.deferred.len();
    println!(
        "Claims were deferred in the retry topic {deferred} times: those that no API would assess \
         for {IN_PROCESS_FOR}."
    );
    section("Dead letters");
    println!("{}", dead_letters(evidence));
    let is_repeat =
        |sent: &&Sent| matches!(sent.event.expected, Expected::Repeat { same: true, .. });
    let skipped = evidence.sent.iter().filter(is_repeat).count();
    println!("Besides, {skipped} events repeated a claim that was sent before: they were skipped.");
    section("Time from an event's arrival in Kafka until a consumer sees its decision");
    println!("{}", latencies(evidence, measured.outage.as_ref()));
    section("Cost");
    print_cost(evidence.sent.len(), measured);
}

/// Prints the heading of a part of the report.
pub(super) fn section(title: &str) {
    println!("\n{title}");
}

fn print_cost(events: usize, measured: &Measured) {
    let wall = measured.wall.as_secs_f64();
    println!(
        "{events} events in {wall:.1} s: they were sent over 8 s or more, and the last claim that \
        no API assesses was given up {GIVE_UP_AFTER} later or more."
    );
    let Some(Spent { whole, worker, librdkafka }) = measured.cpu else {
        println!("CPU time can be read on Linux only.");
        return;
    };
    let each = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1_000.0 / events as f64);
    let rest = whole.saturating_sub(worker + librdkafka);
    println!(
        "CPU time per event, of this process: {}. A worker alone costs less. It is the sum of",
        each(whole)
    );
    println!("  {:>8}  the worker's loop, consumer and publisher", each(worker));
    println!(
        "  {:>8}  librdkafka: the worker's clients, and also the demo's and the mock broker",
        each(librdkafka)
    );
    println!("  {:>8}  the simulated risk APIs and the demo itself", each(rest));
    if cfg!(debug_assertions) {
        println!("This is a debug build: a release build needs a fraction of it.");
    }
}

/// Prints which guarantees held.
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
