//! Claims that wait for a call of their API, and what permits the call. Pure bookkeeping.

use tokio::time::Instant;

use super::pause_guard::PauseGuard;
use super::{Job, WorkerContext};
use crate::assess::breaker::Breaker;
use crate::assess::budget::Budget;
use crate::assess::limit::Limit;
use crate::assess::token::Token;
use crate::assess::{ApiQueue, CallScheduler};
use crate::risk::{Route, Scope};

/// What decides when the next calls are made.
pub(super) struct Calls {
    /// Claims that wait for a permit of their API, or for the time of their next attempt.
    pub(super) scheduler: CallScheduler<Box<Job>>,
    /// The access tokens, by the number of their source.
    pub(super) tokens: Vec<Token>,
    /// How often credentials had been read again when the breakers were last told.
    pub(super) renewals: u64,
    /// Forbids calls after the process was paused: another worker may have its partitions now.
    pub(super) pause_guard: PauseGuard,
    /// Since when no calls are made because Postgres is away; `None` while it is well.
    pub(super) stopped_since: Option<Instant>,
    /// How many partitions the input topic has. This worker gets the same part of the group's
    /// limits as it has of the partitions.
    pub(super) input_partitions: u32,
}

impl Calls {
    pub(super) fn new(context: &WorkerContext, now: Instant) -> Self {
        let queue = |route: &Route| {
            let concurrency = usize::try_from(route.concurrency).unwrap_or(usize::MAX);
            let of_group =
                (route.concurrency_scope == Scope::Group, route.rate_limit_scope == Scope::Group);
            let limit = Limit::new(concurrency, route.rate_limit).of_group(of_group.0, of_group.1);
            ApiQueue::new(
                if route.is_adaptive { limit.adaptive(now) } else { limit },
                Breaker::new(context.breaker.clone(), now),
                Budget::new(context.retry.budget.clone(), now),
            )
        };
        let pause_guard =
            PauseGuard::new(context.kafka.session_timeout, now, context.clock.micros());
        Self {
            scheduler: CallScheduler::new(
                context.registry.iter().map(|(_, route)| queue(route)).collect(),
            ),
            tokens: context.registry.token_sources().map(|_| Token::default()).collect(),
            renewals: context.registry.renewals(),
            pause_guard,
            stopped_since: None,
            input_partitions: 0,
        }
    }
}
