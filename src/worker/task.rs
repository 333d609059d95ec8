//! The results of the worker's tasks.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::Job;
use crate::assess::exchange::Exchange;
use crate::intake::TicketId;
use crate::outbox::{Closed, PublishError, Published, Recorded, StoreError};
use crate::risk::TokenId;
use crate::schema::Verdict;
use crate::telemetry::Peer;

/// The result of a task, with what it worked on.
pub(super) enum Done {
    Recalled(LookedUp, Result<HashMap<String, Verdict>, StoreError>),
    Called(Box<Attempted>),
    Token(Box<TokenAnswer>),
    Recorded(Result<Recorded, (Closed, StoreError)>, Duration),
    Published(Result<Published, (Recorded, PublishError)>, Duration),
}

/// The claims that one query to the store was about.
pub(super) struct LookedUp {
    /// Claims that were taken on since the last query.
    pub(super) new: Vec<Box<Job>>,
    /// Claims that wait for a call and may be called soon.
    pub(super) waiting: BTreeSet<TicketId>,
}

/// An attempt that has ended.
pub(super) struct Attempted {
    pub(super) job: Box<Job>,
    pub(super) requested_at: i64,
    pub(super) request: String,
    pub(super) exchange: Exchange,
}

/// A request for an access token that has ended.
pub(super) struct TokenAnswer {
    pub(super) id: TokenId,
    /// Where it went, with its method; `None` where no spans are exported.
    pub(super) peer: Option<(Peer, &'static str)>,
    pub(super) requested_at: i64,
    pub(super) request: String,
    pub(super) exchange: Exchange,
}
