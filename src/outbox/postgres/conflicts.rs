//! Two events with one claim id and different content: which fields differ?
//!
//! The first event is kept, so both are read and compared, by the reader of this version. Where
//! they are the same after all (an older version hashed the first one otherwise), there is no
//! conflict.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::PostgresStore;
use super::error::Failure;
use super::record::{Entry, NewOutcome};
use super::rows;
use crate::claim::{Claim, DeadLetterReason, EventError};
use crate::outbox::{Received, RecordOutcome};
use crate::schema::Verdict;

/// How many first events are in memory at once: each may have a megabyte.
const AT_ONCE: usize = 16;

impl PostgresStore {
    /// Says in each conflict's dead letter which fields differ.
    pub(super) async fn explain_conflicts<'a>(
        &self,
        connection: &mut PgConnection,
        entries: &[Entry<'a>],
        changed: &mut Vec<NewOutcome<'a>>,
    ) -> Result<(), Failure> {
        let conflict = |outcome: &RecordOutcome| match outcome {
            RecordOutcome::DeadLettered(why) => why.error == EventError::ClaimIdConflict,
            _ => false,
        };
        let found = changed.extract_if(.., |change| conflict(&change.outcome));
        let own = entries.iter().filter(|entry| conflict(entry.outcome)).map(|entry| NewOutcome {
            index: entry.index,
            received: entry.received,
            outcome: entry.outcome.clone(),
        });
        let mut conflicts: Vec<NewOutcome<'a>> = found.collect();
        conflicts.extend(own);
        for some in conflicts.chunks_mut(AT_ONCE) {
            let claims: Vec<Option<Claim>> =
                some.iter().map(|change| claim(change.received.payload.as_deref())).collect();
            let ids: Vec<String> =
                claims.iter().flatten().map(|claim| claim.claim_id.clone()).collect();
            let server = &self.connections;
            let firsts =
                server.answer(rows::select_first_events(connection, &ids, &self.keys())).await?;
            let mut verdicts = server.answer(rows::select_verdicts(connection, &ids)).await?;
            for (change, claim) in some.iter_mut().zip(&claims) {
                let Some(claim) = claim else { continue };
                let Some(verdict) = verdicts.remove(&claim.claim_id) else { continue };
                explain(change, claim, &firsts, &verdict);
                verdicts.insert(claim.claim_id.clone(), verdict);
            }
        }
        changed.extend(conflicts);
        Ok(())
    }
}

fn claim(payload: Option<&[u8]>) -> Option<Claim> {
    Claim::parse(payload, usize::MAX).ok()
}

fn explain(
    change: &mut NewOutcome<'_>,
    claim: &Claim,
    firsts: &HashMap<String, Vec<u8>>,
    verdict: &Verdict,
) {
    let Received { source, .. } = change.received;
    let first = firsts.get(&claim.claim_id).and_then(|payload| self::claim(Some(payload)));
    let differing = first.map(|first| first.differences(claim));
    match differing.as_deref() {
        Some([]) => change.outcome = RecordOutcome::of_same(verdict.clone(), source),
        Some(fields) => {
            if let RecordOutcome::DeadLettered(DeadLetterReason { detail, .. }) =
                &mut change.outcome
            {
                *detail = format!("{detail}; they differ in {}", fields.join(", "));
            }
        }
        // Without the first event, the same place counts as the same event: Kafka delivers an event
        // twice more often than a topic starts again from 0.
        None if verdict.source == *source => {
            change.outcome = RecordOutcome::of_same(verdict.clone(), source)
        }
        None => {}
    }
}
