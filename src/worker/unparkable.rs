//! Parked claims that the retry topic takes in no form: each gets its last decision.
//!
//! The publisher finds out, when the claim's record as parked is in Postgres already. The verdict
//! is recorded with the next flush.

use tracing::warn;

use super::assessing::Assessed;
use super::{Http, Intake, Publisher, Store, Worker};
use crate::claim::Claim;
use crate::outbox::{Disposition, Settled};

impl<I: Intake, S: Store + 'static, P: Publisher + 'static, H: Http> Worker<I, S, P, H> {
    /// Decides a claim that was to be parked and cannot be.
    pub(super) fn give_up_unparkable(&mut self, settled: Settled) {
        let Settled { ticket, received, claim_id, disposition } = settled;
        let Disposition::Parked(parking) = disposition else {
            // Only what is to be parked goes to the retry topic.
            return self.batch.settle(Settled { ticket, received, claim_id, disposition });
        };
        // It was a claim when it was read, and it is one still.
        let claim = Claim::parse(received.payload.as_deref(), usize::MAX);
        match claim.and_then(|claim| self.terms.registry.route(&claim).map(|api| (claim, api))) {
            Ok((claim, api)) => {
                warn!(
                    source = %received.source,
                    "a claim is too large for the retry topic and is decided as unassessed"
                );
                let assessed = Assessed {
                    api,
                    fingerprint: claim.fingerprint(),
                    attempts: parking.attempts,
                    ruling: self.terms.policy.unassessed(&parking.reason, None),
                    finding: None,
                    provider_code: None,
                };
                self.settle_verdict(ticket, received, claim, assessed);
            }
            Err(malformed) => {
                let disposition = Disposition::Quarantined(malformed);
                self.batch.settle(Settled { ticket, received, claim_id, disposition });
            }
        }
    }
}
