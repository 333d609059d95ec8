//! Checks that dead letters and deferred claims are complete, and that received events are kept.

use std::collections::{HashMap, HashSet};

use super::{Claims, Promise};
use crate::evidence::Evidence;
use crate::observer::Message;
use crate::traffic::Sent;
use claimgate::claim::without_secrets;
use claimgate::intake::{Headers, header};
use claimgate::schema::DeadLetterRow;

pub(super) fn dead_letters_in_the_topic(evidence: &Evidence) -> Promise {
    let mut promise = Promise::new(
        "Every malformed event has one dead letter in the topic, whole and saying why; nothing \
         else has",
    );
    let mut found: HashMap<String, Vec<&Message>> = HashMap::new();
    for message in &evidence.messages.dead_letters {
        found.entry(header_text(&message.headers, "claimgate-source")).or_default().push(message);
    }
    for sent in &evidence.sent {
        let Some((error, field)) = sent.event.expected.dead_letter() else { continue };
        promise.compared += 1;
        let messages = found.remove(&sent.source.to_string()).unwrap_or_default();
        let Some(message) = messages.first() else {
            promise.broken.push(format!(
                "the event at {} ({error}) has no dead letter in the topic",
                sent.source
            ));
            continue;
        };
        let says = (
            header_text(&message.headers, "claimgate-error"),
            header_text(&message.headers, "claimgate-error-field"),
        );
        let right = says.0 == error && field.is_none_or(|field| says.1 == field);
        promise.demand(right, || {
            format!(
                "the event at {} is {error} {field:?}, its dead letter says {says:?}",
                sent.source
            )
        });
        let key = sent.event.key.as_deref().map(str::as_bytes);
        let whole = message.payload == sent.event.payload && message.key.as_deref() == key;
        promise.demand(whole, || {
            format!("the dead letter of {} is not the event that was sent", sent.source)
        });
        promise.demand(header(&message.headers, "producer").is_some(), || {
            format!("the dead letter of {} lost a header", sent.source)
        });
        demand_no_repeats(
            &mut promise,
            evidence,
            &messages,
            &format!("the dead letter of {}", sent.source),
        );
    }
    for source in found.keys() {
        promise
            .broken
            .push(format!("there is a dead letter of {source:?}, which is no malformed event"));
    }
    promise
}

pub(super) fn dead_letters_in_the_table(evidence: &Evidence) -> Promise {
    let mut promise = Promise::new(
        "Every malformed event has one row in dead_letters, whole and saying why; nothing else has",
    );
    let place = |row: &DeadLetterRow| (row.id.source.partition, row.id.source.offset);
    let mut rows: HashMap<(i32, i64), &DeadLetterRow> =
        evidence.tables.dead_letters.iter().map(|row| (place(row), row)).collect();
    for sent in &evidence.sent {
        let Some((error, field)) = sent.event.expected.dead_letter() else { continue };
        promise.compared += 1;
        let Some(row) = rows.remove(&(sent.source.partition, sent.source.offset)) else {
            promise
                .broken
                .push(format!("the event at {} ({error}) has no row in dead_letters", sent.source));
            continue;
        };
        let right = row.error == error && (field.is_none() || row.error_field.as_deref() == field);
        promise.demand(right, || {
            format!(
                "the event at {} is {error} {field:?}, its row says {} {:?}",
                sent.source, row.error, row.error_field
            )
        });
        let key = sent.event.key.as_deref().map(str::as_bytes);
        let whole = row.payload == sent.event.payload && row.key.as_deref() == key;
        promise
            .demand(whole, || format!("the row of {} is not the event that was sent", sent.source));
    }
    for (partition, offset) in rows.keys() {
        promise.broken.push(format!(
            "there is a row in dead_letters for {partition}/{offset}, which is no malformed event"
        ));
    }
    promise
}

pub(super) fn events_are_kept(evidence: &Evidence, claims: &Claims<'_>) -> Promise {
    let mut promise = Promise::new(
        "The event behind every verdict is kept byte for byte, but hashes stand for secrets",
    );
    let mut kept = HashSet::new();
    for row in &evidence.tables.events {
        let Some((sent, _)) = claims.get(row.claim_id.as_str()) else {
            promise
                .broken
                .push(format!("there is an event of claim {:?}, which nobody sent", row.claim_id));
            continue;
        };
        promise.compared += 1;
        let key = sent.event.key.as_deref().map(str::as_bytes);
        let place = (row.source.partition, row.source.offset)
            == (sent.source.partition, sent.source.offset);
        let payload = sent.event.payload.as_deref().map(without_secrets);
        let whole = place && row.payload.as_deref() == payload.as_deref();
        promise.demand(whole && row.key.as_deref() == key, || {
            format!("the event of claim {} is not the one that was sent", row.claim_id)
        });
        promise.demand(kept.insert(row.claim_id.as_str()), || {
            format!("claim {} has two events", row.claim_id)
        });
    }
    for (claim_id, _) in claims.iter().filter(|(claim_id, _)| !kept.contains(*claim_id)) {
        promise.broken.push(format!("the event of claim {claim_id} is not kept"));
    }
    promise
}

pub(super) fn deferred_whole(evidence: &Evidence) -> Promise {
    let mut promise = Promise::new(
        "Every claim that is deferred waits in the retry topic as it came, and says why",
    );
    let sent: HashMap<String, &Sent> =
        evidence.sent.iter().map(|sent| (sent.source.to_string(), sent)).collect();
    for message in &evidence.messages.deferred {
        promise.compared += 1;
        let source = header_text(&message.headers, "claimgate-source");
        let Some(Sent { event, .. }) = sent.get(&source) else {
            promise.broken.push(format!(
                "{} was deferred and claims to be {source:?}, which was never sent",
                message.place
            ));
            continue;
        };
        let whole = message.payload == event.payload
            && message.key.as_deref() == event.key.as_deref().map(str::as_bytes);
        promise.demand(whole, || format!("the deferred {source} is not the event that was sent"));
        let says = ["producer", "claimgate-reason", "claimgate-not-before"];
        promise.demand(says.iter().all(|name| header(&message.headers, name).is_some()), || {
            format!("the deferred {source} lacks a header")
        });
        promise.demand(
            event.expected.dead_letter().is_none_or(|(error, _)| error == "claim_id_conflict"),
            || format!("the deferred {source} is no claim"),
        );
    }
    promise
}

/// At least once: a flush that Kafka did not accept may leave messages behind, which are sent again
/// byte for byte.
pub(super) fn demand_no_repeats(
    promise: &mut Promise,
    evidence: &Evidence,
    messages: &[&Message],
    what: &str,
) {
    let [first, repeats @ ..] = messages else { return };
    let same =
        repeats.iter().all(|repeat| (&repeat.key, &repeat.payload) == (&first.key, &first.payload));
    promise.demand(same, || {
        format!("{what} was published {} times, and not with the same bytes", messages.len())
    });
    promise.demand(repeats.is_empty() || evidence.aborts > 0, || {
        format!("{what} was published {} times though no flush was aborted", messages.len())
    });
}

pub(super) fn header_text(headers: &Headers, name: &str) -> String {
    String::from_utf8_lossy(header(headers, name).unwrap_or_default()).into_owned()
}
