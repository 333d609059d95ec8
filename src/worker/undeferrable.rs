//! Deferred claims that the retry topic rejects: each gets its last decision.
//!
//! Only the publisher finds out, after the batch with the deferral was recorded. The verdict is
//! recorded with the next flush.

use tracing::warn;

use super::deciding::Ending;
use super::{Ports, Worker};
use crate::claim::Claim;
use crate::outbox::{Completed, RecordOutcome};
use crate::risk::rule_unassessed;

impl<P: Ports> Worker<P> {
    /// Decides a claim that was to be deferred and cannot be published to the retry topic.
    pub(super) fn give_up_undeferrable(&mut self, completed: Completed) {
        let Completed { ticket, received, claim_id, outcome } = completed;
        let RecordOutcome::Deferred(deferral) = outcome else {
            // Cannot happen: only deferred claims go to the retry topic.
            return self.complete(Completed { ticket, received, claim_id, outcome });
        };
        // It was a claim when it was read, and it is one still.
        let claim = Claim::parse(received.payload.as_deref(), usize::MAX);
        match claim.and_then(|claim| self.context.registry.route(&claim).map(|api| (claim, api))) {
            Ok((claim, api)) => {
                // Its deferral ended the queue of its claim. If its partition goes and comes back,
                // the record is read again before the verdict is in Postgres: it waits for that.
                self.duplicates.lead(&claim.claim_id, ticket.id());
                warn!(
                    source = %received.source, claim.id = claim.claim_id,
                    trace_id = received.trace.trace_id(),
                    "a claim is too large for the retry topic and is decided as unassessed"
                );
                let ending = Ending {
                    api,
                    fingerprint: claim.fingerprint(),
                    attempts: deferral.attempts,
                    ruled: self
                        .context
                        .policies
                        .rule(|policy| rule_unassessed(policy, &deferral.reason, None)),
                    assessment: None,
                    provider_code: None,
                };
                self.complete_verdict(ticket, received, claim, ending);
            }
            Err(reason) => {
                let outcome = RecordOutcome::DeadLettered(reason);
                self.complete(Completed { ticket, received, claim_id, outcome });
            }
        }
    }
}
