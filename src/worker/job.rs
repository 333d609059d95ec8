//! A job: one claim on its way through the worker.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::assess::Waiting;
use crate::assess::retry::Retry;
use crate::assess::token::Lease;
use crate::claim::Claim;
use crate::intake::Ticket;
use crate::intake::parking::Parking;
use crate::outbox::Received;
use crate::risk::ApiId;
use crate::telemetry::ClaimSpan;

/// One claim on its way: everything that is known of it until it ends.
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) received: Received,
    pub(super) claim: Claim,
    pub(super) fingerprint: [u8; 32],
    pub(super) api: ApiId,
    /// The lane: a hash of the subject.
    pub(super) lane: u64,
    pub(super) retry: Retry,
    /// Its history, where it was parked before.
    pub(super) parking: Option<Parking>,
    /// Whether the call under way probes an open breaker.
    pub(super) probe: bool,
    /// The access token of the attempt under way.
    pub(super) lease: Option<Lease>,
    pub(super) span: ClaimSpan,
}

impl Waiting for Box<Job> {
    fn is_first_call(&self) -> bool {
        self.retry.attempts() == 0
    }
}

impl Job {
    /// A claim that was just read, or read again after it was parked.
    pub(super) fn new(
        ticket: Ticket,
        received: Received,
        claim: Claim,
        api: ApiId,
        parking: Option<Parking>,
        span: ClaimSpan,
    ) -> Box<Self> {
        let mut hasher = DefaultHasher::new();
        claim.subject().hash(&mut hasher);
        let (lane, fingerprint) = (hasher.finish(), claim.fingerprint());
        let retry = Retry::resumed(parking.as_ref().map_or(0, |parking| parking.attempts));
        Box::new(Self {
            ticket,
            received,
            claim,
            fingerprint,
            api,
            lane,
            retry,
            parking,
            probe: false,
            lease: None,
            span,
        })
    }
}
