//! The evidence: the input, the output, the records and the calls, read from Kafka, PostgreSQL and
//! the simulator after the run.

use std::collections::{HashMap, HashSet};

use claimgate_simulator::Call;
use serde::Deserialize;
use sqlx::Row;

use super::super::lab::{Lab, Seen};
use super::traffic;

/// Partition and offset in the claims topic.
pub(super) type Place = (i32, i64);

/// All of the evidence.
pub(super) struct Evidence {
    /// The number of claims that were sent: theirs are smaller.
    pub(super) sent: usize,
    /// Events that the lab sent again because Kafka had not acknowledged them.
    pub(super) resent: usize,
    /// What each record of the claims topic is: `claim`, `other` or `dead:…`, and the number of its
    /// claim.
    pub(super) records: HashMap<Place, (usize, String)>,
    /// Decisions by the number of the claim.
    pub(super) decisions: HashMap<usize, Vec<Decision>>,
    /// Decisions about claims that have no number.
    pub(super) strangers: Vec<String>,
    pub(super) verdicts: HashMap<usize, Verdict>,
    /// When each row was begun to be written, UNIX milliseconds.
    pub(super) recorded_at: HashMap<usize, i64>,
    /// The errors that were published about each place.
    pub(super) dead: HashMap<Place, Vec<String>>,
    /// The same, from the table.
    pub(super) dead_rows: HashMap<Place, String>,
    /// How many events there are of each claim.
    events: HashMap<usize, usize>,
    /// Claims that were deferred.
    pub(super) deferred: HashSet<usize>,
    pub(super) calls: Vec<Call>,
    pub(super) attempts: Vec<Attempt>,
    /// Errors of reading.
    pub(super) wrong: Vec<String>,
}

/// A decision, as a `read_committed` consumer sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    /// When it was sent.
    pub(super) at_ms: i64,
}

/// The fields that decision and row have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) decision: String,
    pub(super) level: Option<i64>,
    pub(super) attempts: i64,
    pub(super) place: Place,
}

/// A row of `risk_calls`.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) number: usize,
    /// UNIX milliseconds.
    pub(super) at_ms: i64,
    /// `Nonce`, or `client_msg_id`: it identifies a call in the simulator's log.
    pub(super) key: String,
    pub(super) outcome: String,
    pub(super) has_response: bool,
}

#[derive(Deserialize)]
struct Published {
    claim_id: String,
    decision: String,
    level: Option<i64>,
    attempts: i64,
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    partition: i32,
    offset: i64,
}

impl Evidence {
    pub(super) async fn gather(lab: &Lab, sent: usize) -> Self {
        let mut all = Self {
            sent,
            resent: lab.resent(),
            records: HashMap::new(),
            decisions: HashMap::new(),
            strangers: Vec::new(),
            verdicts: HashMap::new(),
            recorded_at: HashMap::new(),
            dead: HashMap::new(),
            dead_rows: HashMap::new(),
            events: HashMap::new(),
            deferred: HashSet::new(),
            calls: lab.simulator.calls().all(),
            attempts: Vec::new(),
            wrong: Vec::new(),
        };
        if lab.simulator.calls().forgotten() > 0 {
            all.wrong.push("the simulator's log is not complete".to_owned());
        }
        lab.each("claims", |seen| all.take_record(&seen));
        lab.each("decisions", |seen| all.take_decision(&seen));
        lab.each("dead", |seen| all.take_dead_letter(lab, &seen));
        lab.each("retry", |seen| {
            all.deferred.extend(header(&seen, traffic::NUMBER).parse::<usize>().ok())
        });
        all.read_tables(lab).await;
        all
    }

    fn take_record(&mut self, seen: &Seen) {
        let number = header(seen, traffic::NUMBER).parse().expect("the lab's own header");
        let sort = header(seen, traffic::SORT);
        if !sort.starts_with("dead:") {
            *self.events.entry(number).or_default() += 1;
        }
        self.records.insert((seen.partition, seen.offset), (number, sort));
    }

    /// The number of events of a claim.
    pub(super) fn events_of(&self, number: usize) -> usize {
        self.events.get(&number).copied().unwrap_or(0)
    }

    fn take_decision(&mut self, seen: &Seen) {
        let payload = seen.payload.as_deref().unwrap_or_default();
        let published: Published = match serde_json::from_slice(payload) {
            Ok(published) => published,
            Err(error) => {
                let (partition, offset) = (seen.partition, seen.offset);
                return self
                    .wrong
                    .push(format!("decisions/{partition}/{offset} cannot be read: {error}"));
            }
        };
        let Published { claim_id, decision, level, attempts, source } = published;
        match traffic::number(&claim_id) {
            Some(number) => {
                let verdict =
                    Verdict { decision, level, attempts, place: (source.partition, source.offset) };
                self.decisions
                    .entry(number)
                    .or_default()
                    .push(Decision { verdict, at_ms: seen.at_ms });
            }
            None => self.strangers.push(claim_id),
        }
    }

    fn take_dead_letter(&mut self, lab: &Lab, seen: &Seen) {
        let source = header(seen, "claimgate-source");
        let mut parts = source.split('/');
        let topic = parts.next().unwrap_or_default();
        let place = parts
            .next()
            .and_then(|part| part.parse().ok())
            .zip(parts.next().and_then(|part| part.parse().ok()));
        match place {
            Some(place) if topic == lab.topic("claims") => {
                self.dead.entry(place).or_default().push(header(seen, "claimgate-error"));
            }
            _ => self.wrong.push(format!("a dead letter comes from {source:?}")),
        }
    }

    async fn read_tables(&mut self, lab: &Lab) {
        let query = "select claim_id, decision, level::bigint, attempts::bigint,
            source_partition, source_offset,
            (extract(epoch from recorded_at) * 1000)::bigint from verdicts";
        for row in sqlx::query(query).fetch_all(&lab.database).await.expect("the verdicts") {
            let claim_id: String = row.get(0);
            let (decision, level, attempts) = (row.get(1), row.get(2), row.get(3));
            match traffic::number(&claim_id) {
                Some(number) => {
                    let place = (row.get(4), row.get(5));
                    self.recorded_at.insert(number, row.get(6));
                    self.verdicts.insert(number, Verdict { decision, level, attempts, place });
                }
                None => self.strangers.push(claim_id),
            }
        }
        let query = "select source_partition, source_offset, error from dead_letters";
        for row in sqlx::query(query).fetch_all(&lab.database).await.expect("the dead letters") {
            self.dead_rows.insert((row.get(0), row.get(1)), row.get(2));
        }
        let query = "select claim_id, (extract(epoch from requested_at) * 1000)::bigint, outcome,
            response is not null,
            coalesce(substring(request from '[?&]Nonce=([0-9]+)'),
                substring(request from '\"client_msg_id\":\"([^\"]*)\"'), '')
            from risk_calls";
        for row in sqlx::query(query).fetch_all(&lab.database).await.expect("the calls") {
            let claim_id: String = row.get(0);
            let Some(number) = traffic::number(&claim_id) else {
                self.strangers.push(claim_id);
                continue;
            };
            self.attempts.push(Attempt {
                number,
                at_ms: row.get(1),
                outcome: row.get(2),
                has_response: row.get(3),
                key: row.get(4),
            });
        }
    }
}

fn header(seen: &Seen, name: &str) -> String {
    String::from_utf8_lossy(seen.headers.get(name).map_or(&[][..], Vec::as_slice)).into_owned()
}
