//! A job: one claim while the worker handles it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::assess::Waiting;
use crate::assess::retry::Retry;
use crate::assess::token::Lease;
use crate::claim::Claim;
use crate::intake::Ticket;
use crate::intake::deferral::Deferral;
use crate::outbox::Received;
use crate::risk::{ApiId, FaultReason};

/// How long a look-up is valid. Before a later call the claim is looked up again: another worker
/// may have decided it meanwhile.
const LOOKED_UP_FOR: Duration = Duration::from_secs(1);

/// Everything that the worker knows about one claim until it ends.
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) received: Received,
    pub(super) claim: Claim,
    pub(super) fingerprint: [u8; 32],
    pub(super) api: ApiId,
    /// The lane: a hash of the subject.
    pub(super) lane: u64,
    pub(super) retry: Retry,
    /// Its history, where it was deferred before.
    pub(super) deferral: Option<Deferral>,
    /// Whether it has a place in the room of its API.
    pub(super) has_place: bool,
    /// When the store last had no verdict for it.
    pub(super) looked_up: Option<Instant>,
    /// Whether the call under way probes an open breaker.
    pub(super) is_breaker_probe: bool,
    /// The access token of the attempt under way.
    pub(super) lease: Option<Lease>,
}

impl Waiting for Box<Job> {
    fn is_first_call(&self) -> bool {
        // A claim that comes back from the retry topic has waited long enough: it counts as a first
        // call too.
        self.retry.is_fresh()
    }

    fn is_undecided(&self, now: Instant) -> bool {
        self.looked_up.is_some_and(|at| now.duration_since(at) <= LOOKED_UP_FOR)
    }
}

impl Job {
    /// Since when the worker has tried to decide it, UNIX milliseconds.
    pub(super) fn since(&self) -> i64 {
        self.deferral.as_ref().map_or(self.received.received_at / 1_000, |deferral| deferral.since)
    }

    /// Whether it is to be looked up again: it may be called soon.
    pub(super) fn is_to_be_looked_up(&self, now: Instant) -> bool {
        self.looked_up.is_none_or(|at| now.duration_since(at) > LOOKED_UP_FOR / 2)
    }

    /// A claim that was just read, or read again after it was deferred.
    pub(super) fn new(
        ticket: Ticket,
        received: Received,
        claim: Claim,
        api: ApiId,
        deferral: Option<Deferral>,
    ) -> Box<Self> {
        let mut hasher = DefaultHasher::new();
        claim.subject().hash(&mut hasher);
        let (lane, fingerprint) = (hasher.finish(), claim.fingerprint());
        let resumed = |deferral: &Deferral| {
            Retry::resumed(
                deferral.attempts,
                deferral.unseen,
                FaultReason::from_word(&deferral.reason),
            )
            .with_code(deferral.code)
        };
        let retry = deferral.as_ref().map(resumed).unwrap_or_default();
        Box::new(Self {
            ticket,
            received,
            claim,
            fingerprint,
            api,
            lane,
            retry,
            deferral,
            has_place: false,
            looked_up: None,
            is_breaker_probe: false,
            lease: None,
        })
    }
}
