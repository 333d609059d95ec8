//! Deferral: the history of a deferred claim, which it carries in its headers. So it survives
//! restarts, and the worker that reads it next knows what happened before.
//!
//! Pure. A deferred claim is the event as it was received, written to the retry topic in the
//! transaction that completes its record. The invariant: [`Deferral::parse`] reads what
//! [`Deferral::headers`] writes; anything else counts as never deferred.
//!
//! ```
//! use claimgate::decision::Source;
//! use claimgate::intake::deferral::Deferral;
//!
//! let deferral = Deferral {
//!     times: 1, first: 1_632_994_480_000, since: 1_632_994_480_000,
//!     not_before: 1_632_994_510_000, attempts: 3, unseen: 0, code: Some(-1),
//!     reason: "http_5xx".to_owned(), api: "captcha".to_owned(),
//!     source: Source { topic: "claims".to_owned(), partition: 4, offset: 17 },
//!     traceparent: String::new(),
//! };
//! let event = vec![("producer".to_owned(), Some(b"shop".to_vec()))];
//! let headers = deferral.headers(&event);
//! assert_eq!(Deferral::parse(&headers), Some(deferral));
//! assert_eq!(Deferral::strip(headers), event);
//! ```

use super::{Headers, header};
use crate::decision::Source;
use crate::kafka::is_topic_name;

/// How often the claim was deferred.
const TIMES: &str = "claimgate-deferred";
/// When it was first admitted, UNIX milliseconds; the same as [`SINCE`] where the header is absent.
const FIRST: &str = "claimgate-first-admitted";
/// Since when workers have tried to decide it, UNIX milliseconds.
const SINCE: &str = "claimgate-deferred-since";
/// No API is called about it before this time, UNIX milliseconds.
const NOT_BEFORE: &str = "claimgate-not-before";
/// How many attempts were made.
const ATTEMPTS: &str = "claimgate-attempts";
/// How many of these attempts the API did not look at; 0 where the header is absent.
const UNSEEN: &str = "claimgate-unseen";
/// Why it was deferred, in a bounded word.
const REASON: &str = "claimgate-reason";
/// The last return code that an API answered, if it answered any.
const CODE: &str = "claimgate-code";
/// The position of the claim's event in the input topic.
const SOURCE: &str = "claimgate-source";
/// The name of the risk API that it waits for.
const API: &str = "claimgate-api";
/// The trace in which it was deferred.
const TRACE: &str = "claimgate-traceparent";
const ALL: [&str; 11] =
    [TIMES, FIRST, SINCE, NOT_BEFORE, ATTEMPTS, UNSEEN, REASON, CODE, SOURCE, API, TRACE];

/// No reason, no API's name and no trace is longer.
const WORD_MAX: usize = 64;
/// The largest count that is passed on; a larger one is written as this. A verdict's row has room
/// for what is added to it.
const COUNT_MAX: u32 = 1_000_000;

/// A deferred claim's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// How often it was deferred, 1 for the first time.
    pub times: u32,
    /// When it was first admitted, UNIX milliseconds.
    pub first: i64,
    /// Since when workers have tried to decide it, UNIX milliseconds. Waiting for room is not
    /// trying.
    pub since: i64,
    /// No API is called about it before this time, UNIX milliseconds.
    pub not_before: i64,
    /// How many attempts were made.
    pub attempts: u32,
    /// How many of these attempts the API did not look at: no connection was made, or the API
    /// turned the call away.
    pub unseen: u32,
    /// Why it was deferred, in a bounded word.
    pub reason: String,
    /// The last return code that the API answered: the verdict has it where the claim is given up
    /// while it waits.
    pub code: Option<i64>,
    /// The position of the claim's event in the input topic: the source of its verdict.
    pub source: Source,
    /// The name of the risk API that it waits for; empty if it is not known.
    pub api: String,
    /// The trace in which it was deferred, as W3C's header; empty if it is not known. It is used if
    /// the event's own headers name no trace.
    pub traceparent: String,
}

impl Deferral {
    /// Reads the history from the headers of a record; `None` if there is none or it is incomplete.
    pub fn parse(headers: &Headers) -> Option<Self> {
        let text = |name| header(headers, name).and_then(|value| std::str::from_utf8(value).ok());
        let number = |name| text(name)?.parse::<i64>().ok().filter(|number| *number >= 0);
        // Texts and counts of another writer are not passed on in any size.
        let count = |name| u32::try_from(number(name)?).ok().filter(|count| *count <= COUNT_MAX);
        let is_short = |text: &&str| text.len() <= WORD_MAX;
        let since = number(SINCE)?;
        Some(Self {
            times: count(TIMES)?,
            first: number(FIRST).unwrap_or(since),
            since,
            not_before: number(NOT_BEFORE)?,
            attempts: count(ATTEMPTS)?,
            unseen: count(UNSEEN).unwrap_or(0),
            reason: text(REASON).filter(is_short)?.to_owned(),
            code: text(CODE).and_then(|code| code.parse().ok()),
            source: place(text(SOURCE)?)?,
            api: text(API).filter(is_short).unwrap_or_default().to_owned(),
            traceparent: text(TRACE).filter(is_short).unwrap_or_default().to_owned(),
        })
    }

    /// The headers of the deferred record: the event's own, and the history.
    pub fn headers(&self, event: &Headers) -> Headers {
        let mut headers = Self::strip(event.clone());
        let count = |count: u32| count.min(COUNT_MAX).to_string();
        let history = [
            (TIMES, count(self.times)),
            (FIRST, self.first.to_string()),
            (SINCE, self.since.to_string()),
            (NOT_BEFORE, self.not_before.to_string()),
            (ATTEMPTS, count(self.attempts)),
            (UNSEEN, count(self.unseen)),
            (REASON, self.reason.clone()),
            (SOURCE, self.source.to_string()),
            (API, self.api.clone()),
            (TRACE, self.traceparent.clone()),
        ];
        let code = self.code.map(|code| (CODE, code.to_string()));
        let history = history.into_iter().chain(code);
        headers.extend(history.map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))));
        headers
    }

    /// The event's own headers, without the history.
    pub fn strip(mut headers: Headers) -> Headers {
        headers.retain(|(name, _)| !ALL.contains(&name.as_str()));
        headers
    }
}

/// Accepts only a place that can exist in Kafka. Any program that may write to the retry topic
/// could have written another one. It would become the key of a dead letter's row, which PostgreSQL
/// refuses to index if it is long, and the partition that a replay is sent to.
fn place(text: &str) -> Option<Source> {
    let (place, offset) = text.rsplit_once('/')?;
    let (topic, partition) = place.rsplit_once('/')?;
    let source = Source {
        topic: topic.to_owned(),
        partition: partition.parse().ok()?,
        offset: offset.parse().ok()?,
    };
    let is_place = is_topic_name(topic) && source.partition >= 0 && source.offset >= 0;
    is_place.then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deferral() -> Deferral {
        let source = Source { topic: "reward.claims".to_owned(), partition: 3, offset: 8812 };
        Deferral {
            times: 2,
            first: 500,
            since: 1_000,
            not_before: 2_000,
            attempts: 7,
            unseen: 3,
            code: Some(-1),
            reason: "http_5xx".to_owned(),
            source,
            api: "mini_program".to_owned(),
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_events_own_headers_stay() {
        let own: Headers = vec![("tenant".to_owned(), Some(vec![0xff])), ("null".to_owned(), None)];
        let once = deferral().headers(&own);
        assert_eq!(Deferral::parse(&once), Some(deferral()));
        let twice = Deferral { times: 3, ..deferral() }.headers(&once);
        assert_eq!(
            Deferral::parse(&twice).map(|deferral| deferral.times),
            Some(3),
            "the older history is replaced"
        );
        assert_eq!(Deferral::strip(twice), own);
    }

    #[test]
    fn a_place_that_kafka_cannot_have_is_none() {
        let read = |text: &str| place(text).map(|source| source.to_string());
        for text in ["reward.claims/3/8812", "A_b-1/0/0"] {
            assert_eq!(read(text).as_deref(), Some(text));
        }
        for text in
            ["", "/0/1", "a/0", "a/-1/1", "a/0/-1", "a/0/x", "a/2147483648/1", "a\0/0/1", "a/b/0/1"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        let long = format!("{}/0/1", "x".repeat(3_000));
        assert_eq!(Deferral::parse(&forged(SOURCE, &long)), None);
    }

    /// A history with this value of another writer.
    fn forged(name: &str, text: &str) -> Headers {
        let mut headers = deferral().headers(&Headers::new());
        headers.retain(|(other, _)| other != name);
        headers.push((name.to_owned(), Some(text.as_bytes().to_vec())));
        headers
    }

    /// The row of a verdict and its decision once had different numbers.
    #[test]
    fn more_attempts_than_a_claim_can_have_are_not_passed_on() {
        let attempts = |text| Deferral::parse(&forged(ATTEMPTS, text)).map(|read| read.attempts);
        assert_eq!(attempts("1000000"), Some(1_000_000));
        assert_eq!((attempts("1000001"), attempts("4294967295")), (None, None));
    }

    /// Without a free seat a claim may be written to the end of its topic many times a second. The
    /// history of one that was deferred too often was not read again.
    #[test]
    fn a_history_of_any_length_is_read_again() {
        let long = Deferral { times: 1_000_001, attempts: u32::MAX, ..deferral() };
        let read = Deferral::parse(&long.headers(&Headers::new())).expect("it is read");
        assert_eq!((read.times, read.attempts), (1_000_000, 1_000_000));
        assert_eq!(read.source, long.source);
    }

    #[test]
    fn what_is_longer_than_any_word_is_not_passed_on() {
        let long = "x".repeat(WORD_MAX + 1);
        assert_eq!(Deferral::parse(&forged(REASON, &long)), None);
        let api = Deferral::parse(&forged(API, &long));
        assert_eq!(api, Some(Deferral { api: String::new(), ..deferral() }));
        let trace = Deferral::parse(&forged(TRACE, &long));
        assert_eq!(trace, Some(Deferral { traceparent: String::new(), ..deferral() }));
    }

    #[test]
    fn half_a_history_is_none() {
        let whole = deferral().headers(&Headers::new());
        // These headers may be missing.
        let needed =
            |index: &usize| ![FIRST, UNSEEN, CODE, API, TRACE].contains(&whole[*index].0.as_str());
        for missing in (0..whole.len()).filter(needed) {
            let mut half = whole.clone();
            half.remove(missing);
            assert_eq!(Deferral::parse(&half), None);
        }
        let mut garbled = whole;
        garbled[0].1 = Some(b"\xff".to_vec());
        assert_eq!(Deferral::parse(&garbled), None);
    }
}
