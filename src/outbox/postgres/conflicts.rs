//! Two events with one claim id and different content: which fields differ?
//!
//! The first event is kept, so both are read and compared, by the reader of this version. Where
//! they are the same after all (an older version hashed the first one otherwise), there is no
//! conflict.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::PostgresStore;
use super::error::Failure;
use super::record::{End, Entry};
use super::rows;
use crate::claim::{Claim, DeadLetterReason, EventError};
use crate::outbox::{Received, RecordOutcome};
use crate::schema::Verdict;

/// So many first events are in memory at once: each may have a megabyte.
const AT_ONCE: usize = 16;

impl PostgresStore {
    /// Says in each conflict's dead letter which fields differ.
    pub(super) async fn explain_conflicts<'a>(
        &self,
        connection: &mut PgConnection,
        entries: &[Entry<'a>],
        ends: &mut Vec<End<'a>>,
    ) -> Result<(), Failure> {
        let conflict = |end: &RecordOutcome| matches!(end, RecordOutcome::DeadLettered(why) if why.error == EventError::ClaimIdConflict);
        let found = ends.extract_if(.., |end| conflict(&end.outcome));
        let own = entries.iter().filter(|entry| conflict(entry.outcome)).map(|entry| End {
            index: entry.index,
            received: entry.received,
            outcome: entry.outcome.clone(),
        });
        let mut conflicts: Vec<End<'a>> = found.collect();
        conflicts.extend(own);
        for some in conflicts.chunks_mut(AT_ONCE) {
            let claims: Vec<Option<Claim>> =
                some.iter().map(|end| claim(end.received.payload.as_deref())).collect();
            let ids: Vec<String> =
                claims.iter().flatten().map(|claim| claim.claim_id.clone()).collect();
            let server = &self.connections;
            let firsts =
                server.answer(rows::select_first_events(connection, &ids, &self.keys())).await?;
            let mut verdicts = server.answer(rows::select_verdicts(connection, &ids)).await?;
            for (end, claim) in some.iter_mut().zip(&claims) {
                let Some(claim) = claim else { continue };
                let Some(verdict) = verdicts.remove(&claim.claim_id) else { continue };
                explain(end, claim, &firsts, &verdict);
                verdicts.insert(claim.claim_id.clone(), verdict);
            }
        }
        ends.extend(conflicts);
        Ok(())
    }
}

fn claim(payload: Option<&[u8]>) -> Option<Claim> {
    Claim::parse(payload, usize::MAX).ok()
}

fn explain(end: &mut End<'_>, claim: &Claim, firsts: &HashMap<String, Vec<u8>>, verdict: &Verdict) {
    let Received { source, .. } = end.received;
    let first = firsts.get(&claim.claim_id).and_then(|payload| self::claim(Some(payload)));
    let differing = first.map(|first| first.differences(claim));
    match differing.as_deref() {
        Some([]) => end.outcome = RecordOutcome::of_same(verdict.clone(), source),
        Some(fields) => {
            if let RecordOutcome::DeadLettered(DeadLetterReason { detail, .. }) = &mut end.outcome {
                *detail = format!("{detail}; they differ in {}", fields.join(", "));
            }
        }
        // Without the first event, the same place counts as the same event: Kafka delivers an event
        // twice more often than a topic starts again from 0.
        None if verdict.source == *source => {
            end.outcome = RecordOutcome::of_same(verdict.clone(), source)
        }
        None => {}
    }
}
