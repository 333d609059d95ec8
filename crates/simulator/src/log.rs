//! The log of the simulator: a bounded ring of calls, and totals per API.
//!
//! A call is entered when its answer is decided, before it is sent: a call that the client cuts off
//! was made and is billed, too. The ring drops its oldest calls; the totals count all calls until
//! they are cleared.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::api::Api;
use super::call::{Call, Totals};
use super::verdicts;

/// The log of calls and their totals.
#[derive(Debug)]
pub struct CallLog {
    capacity: usize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    ring: VecDeque<Call>,
    entered: u64,
    /// The number of calls per (API, account), by hash. Bounded like the ring: it is cleared when
    /// full.
    visits: HashMap<u64, u32>,
    /// Accounts with calls in flight, by hash.
    present: HashMap<u64, u32>,
    totals: BTreeMap<Api, Totals>,
}

impl CallLog {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), book: Mutex::default() }
    }

    /// The calls that are remembered, oldest first.
    pub fn all(&self) -> Vec<Call> {
        self.book().ring.iter().cloned().collect()
    }

    /// At most `limit` remembered calls after the one with the given sequence, oldest first.
    pub fn after(&self, sequence: u64, limit: usize) -> Vec<Call> {
        let book = self.book();
        let first = book.ring.front().map_or(1, |call| call.sequence);
        let next = sequence.saturating_add(1);
        let skip = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        book.ring.iter().skip(skip).take(limit).cloned().collect()
    }

    /// The number of entered calls, including dropped ones.
    pub fn len(&self) -> u64 {
        self.book().entered
    }

    /// Whether there was no call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of calls that the ring has dropped: as long as this is 0, the log is complete.
    pub fn forgotten(&self) -> u64 {
        let book = self.book();
        book.entered - book.ring.len() as u64
    }

    /// How often an account called an API.
    pub fn count(&self, api: Api, account: &str) -> u32 {
        self.book().visits.get(&visit_key(api, account)).copied().unwrap_or(0)
    }

    /// The remembered calls per API and account: the identities that an oracle compares.
    pub fn counts(&self) -> BTreeMap<(Api, String), u64> {
        let mut counts = BTreeMap::new();
        for call in self.book().ring.iter() {
            *counts.entry((call.api, call.account.to_string())).or_insert(0) += 1;
        }
        counts
    }

    /// The totals of every API that was called.
    pub fn totals(&self) -> BTreeMap<Api, Totals> {
        self.book().totals.clone()
    }

    /// Forgets every call and all totals but those of calls in flight.
    pub fn clear(&self) {
        let mut book = self.book();
        book.ring = VecDeque::new();
        book.entered = 0;
        book.visits = HashMap::new();
        for totals in book.totals.values_mut() {
            let in_flight = totals.in_flight;
            *totals = Totals { in_flight, peak_in_flight: in_flight, ..Totals::default() };
        }
    }

    /// A call comes in. Returns its number among the calls of its account. [`leave`](Self::leave)
    /// ends it.
    pub(super) fn arrive(&self, api: Api, account: &str) -> u32 {
        let mut book = self.book();
        let key = visit_key(api, account);
        if book.visits.len() >= self.capacity && !book.visits.contains_key(&key) {
            book.visits = HashMap::new();
        }
        let visit = book.visits.entry(key).or_insert(0);
        *visit = visit.saturating_add(1);
        let number = *visit;
        let present = book.present.entry(presence_key(account)).or_insert(0);
        *present += 1;
        let overlaps = *present > 1 && !account.is_empty() && api != Api::AccessToken;
        let totals = book.totals.entry(api).or_default();
        totals.calls += 1;
        totals.in_flight += 1;
        totals.peak_in_flight = totals.peak_in_flight.max(totals.in_flight);
        totals.overlapping += u64::from(overlaps);
        number
    }

    /// The call is over, answered or not.
    pub(super) fn leave(&self, api: Api, account: &str) {
        let mut book = self.book();
        if let Some(totals) = book.totals.get_mut(&api) {
            totals.in_flight = totals.in_flight.saturating_sub(1);
        }
        let key = presence_key(account);
        match book.present.get_mut(&key) {
            Some(present) if *present > 1 => *present -= 1,
            _ => {
                book.present.remove(&key);
            }
        }
    }

    /// Enters a call and gives it its sequence number.
    pub(super) fn enter(&self, mut call: Call) {
        let mut book = self.book();
        book.entered += 1;
        call.sequence = book.entered;
        *book.totals.entry(call.api).or_default().outcomes.entry(call.outcome).or_insert(0) += 1;
        if book.ring.len() >= self.capacity {
            book.ring.pop_front();
        }
        book.ring.push_back(call);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn visit_key(api: Api, account: &str) -> u64 {
    verdicts::hash(&[api.name().as_bytes(), account.as_bytes()])
}

fn presence_key(account: &str) -> u64 {
    verdicts::hash(&[account.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::super::call::Outcome;
    use super::*;

    fn call(account: &str) -> Call {
        Call {
            sequence: 0,
            at_ms: 1,
            caller: "".into(),
            api: Api::CaptchaQuery,
            account: account.into(),
            claim: "".into(),
            number: 1,
            nonce: Some(u64::MAX),
            timestamp: None,
            outcome: Outcome::Answered,
            code: Some(0),
            level: None,
            http_status: Some(200),
        }
    }

    #[test]
    fn the_ring_forgets_its_oldest_calls_and_says_so() {
        let log = CallLog::new(3);
        ["a", "b", "c", "d", "d"].into_iter().for_each(|account| log.enter(call(account)));
        let sequences =
            |calls: Vec<Call>| calls.iter().map(|call| call.sequence).collect::<Vec<_>>();
        assert_eq!(sequences(log.all()), [3, 4, 5]);
        assert_eq!(sequences(log.after(0, 2)), [3, 4]);
        assert_eq!(sequences(log.after(4, 9)), [5]);
        assert_eq!(sequences(log.after(u64::MAX, 9)), [0_u64; 0]);
        assert_eq!((log.len(), log.forgotten()), (5, 2));
        assert_eq!(log.counts()[&(Api::CaptchaQuery, "d".to_owned())], 2);
        log.clear();
        assert!(log.is_empty() && log.all().is_empty());
    }

    #[test]
    fn an_account_is_counted_on_until_the_counts_have_no_room_for_another_one() {
        let log = CallLog::new(2);
        let arrive = |account| log.arrive(Api::WechatAccount, account);
        assert_eq!(["a", "b", "a", "b"].map(arrive), [1, 1, 2, 2]);
        assert_eq!(["c", "a"].map(arrive), [1, 1], "they start afresh");
    }

    #[test]
    fn overlapping_calls_of_one_account_are_seen() {
        let log = CallLog::new(100);
        assert_eq!(log.arrive(Api::WechatAccount, "a"), 1);
        assert_eq!(log.arrive(Api::WechatAccount, "b"), 1);
        assert_eq!(log.arrive(Api::WechatMarketing, "a"), 1);
        log.leave(Api::WechatAccount, "a");
        log.leave(Api::WechatMarketing, "a");
        assert_eq!(log.arrive(Api::WechatAccount, "a"), 2);
        assert_eq!(log.count(Api::WechatAccount, "a"), 2);
        let totals = log.totals();
        assert_eq!(
            (totals[&Api::WechatMarketing].overlapping, totals[&Api::WechatAccount].overlapping),
            (1, 0)
        );
        assert_eq!(
            (totals[&Api::WechatAccount].in_flight, totals[&Api::WechatAccount].peak_in_flight),
            (2, 2)
        );
    }

    #[test]
    fn a_call_reads_as_one_json_object() {
        let json = serde_json::to_string(&call("u")).unwrap();
        assert!(json.contains(r#""api":"captcha_query","account":"u""#), "{json}");
        assert!(
            json.contains(
                r#""nonce":"18446744073709551615","timestamp":null,"outcome":"answered""#
            ),
            "{json}"
        );
    }
}
