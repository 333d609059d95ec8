//! Whether the worker may write what it will have to, asked before a claim depends on it.
//!
//! The tables are asked and not the catalogue alone: an ordinary row is written into each of them
//! and taken back. So a missing right, a column that was added without a default, and a trigger
//! that raises show at the start, and not with the first claim, which was asked about by then and
//! billed.

use sqlx::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::{Failure, POOLER};
use super::rows::{self, Decided};
use super::{PostgresStore, StoreError};
use crate::claim::{DeadLetterReason, EventError};
use crate::decision::Source;
use crate::outbox::{Call, Received};
use crate::schema::{self, NewDeadLetter, NewEvent, Verdict};
use crate::trace::TraceContext;

/// What the current role lacks, as the statements that grant it.
const LACKING: &str = "select format('grant %s on %s to %I', privilege, name, current_user)
    from (values
        ('verdicts', 'select'), ('verdicts', 'insert'), ('risk_calls', 'insert'),
        ('claim_events', 'select'), ('claim_events', 'insert'),
        ('dead_letters', 'insert'), ('dead_letters', 'select'), ('risk_calls', 'select'),
        ('token_exchanges', 'insert'), ('seals', 'select'),
        ('seals', 'insert'), ('policies', 'select'), ('policies', 'insert'),
        ('subject_keys', 'select'), ('subject_keys', 'insert'),
        ('shadow_decisions', 'insert'),
        ('masked_claims', 'select'), ('masked_steps', 'select')
    ) as needed (name, privilege)
    where not has_any_column_privilege(name, privilege)
    union all
    select format('grant usage on sequence seals_id_seq to %I', current_user)
    where not has_sequence_privilege('seals_id_seq', 'usage')
    union all
    select format('grant execute on function %s to %I', name, current_user)
    from (values ('claimgate_ensure_partitions(date, int)'), ('claimgate_count_decisions()'))
        as needed (name)
    where not has_function_privilege(name, 'execute')";

impl PostgresStore {
    /// Checks that this role may write what a worker writes, and that the settings of a session
    /// hold. Leaves nothing behind.
    ///
    /// # Errors
    /// [`StoreError::Fatal`] with the rights that are missing, or with what refuses an ordinary
    /// row.
    pub async fn check_rights(&self) -> Result<(), StoreError> {
        let lacking: Vec<(String,)> = self.fetch(sqlx::query_as(LACKING)).await?;
        if !lacking.is_empty() {
            let grants: Vec<String> = lacking.into_iter().map(|(grant,)| grant).collect();
            let message = format!(
                "{}: the role lacks rights: {}; `claimgate migrate --roles` grants what each role \
                 needs, and no more (docs/audit.md, section Roles)",
                self.place(),
                grants.join("; ")
            );
            return Err(StoreError::Fatal(message));
        }
        self.check_session().await?;
        self.try_rows().await
    }

    /// Writes an ordinary row into each table that the worker writes to, and takes it back.
    pub(super) async fn try_rows(&self) -> Result<(), StoreError> {
        let now = i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000)
            .unwrap_or(i64::MAX);
        let (verdict, received, call) = ordinary(now);
        let payload = received.payload.as_deref();
        let event = NewEvent {
            claim_id: &verdict.claim_id,
            received: &received,
            payload,
            hashes: verdict.event_hashes,
        };
        let reason = DeadLetterReason::event(EventError::Unrecordable, "a check");
        let dead = [NewDeadLetter::new(&received, &reason)];
        let server = &self.connections;
        let mut refusing = "verdicts";
        let write = async {
            let mut lease = server.lease().await?;
            let mut transaction = server.answer(lease.begin()).await?;
            server.answer(schema::insert(&mut transaction, [&verdict].into_iter())).await?;
            refusing = "claim_events";
            server.answer(schema::insert(&mut transaction, [event].into_iter())).await?;
            refusing = "risk_calls";
            server.answer(schema::insert(&mut transaction, [&call].into_iter())).await?;
            refusing = "dead_letters";
            server.answer(schema::insert(&mut transaction, dead.iter())).await?;
            let deferred =
                sqlx::raw_sql("set constraints all immediate").execute(&mut *transaction);
            server.answer(deferred).await?;
            refusing = "seals";
            let mut last = server.answer(rows::select_newest_seal(&mut transaction)).await?;
            let verdict = Verdict::ordinary(&format!("{}-sealed", verdict.claim_id));
            let row = [Decided { index: 0, verdict: &verdict, received: &received }];
            server
                .answer(rows::insert(&mut transaction, &row, &[], &self.keys(), &mut last))
                .await?;
            server.answer(transaction.rollback()).await?;
            lease.keep();
            Ok(())
        };
        match write.await {
            Ok(()) => Ok(()),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Data { message, .. }) => Err(StoreError::Fatal(format!(
                "{}: the table {refusing} refuses an ordinary row: {message}; the fault is the \
                 table's and not a claim's: take back what was changed in it, then start again",
                self.place()
            ))),
        }
    }

    /// Sees that two connections are two sessions. A pooler that lends them by the transaction
    /// makes them one.
    async fn check_session(&self) -> Result<(), StoreError> {
        if self.connections.size() < 2 {
            return Ok(());
        }
        let server = &self.connections;
        let mark = Uuid::new_v4().to_string();
        let set = "select set_config('claimgate.session', $1, false)";
        let look = async {
            let (mut one, mut other) = (server.lease().await?, server.lease().await?);
            let told = sqlx::query_as::<_, (String,)>(set).bind(&mark).fetch_one(&mut *one);
            server.answer(told).await?;
            let seen = sqlx::query_as::<_, (Option<String>,)>(
                "select current_setting('claimgate.session', true)",
            );
            let (seen,) = server.answer(seen.fetch_one(&mut *other)).await?;
            let told = sqlx::query_as::<_, (String,)>(set).bind("").fetch_one(&mut *one);
            server.answer(told).await?;
            one.keep();
            other.keep();
            Ok(seen.as_deref() != Some(&mark))
        };
        match look.await.map_err(|failure| self.store_error(failure))? {
            true => Ok(()),
            false => Err(StoreError::Fatal(format!(
                "{}: two connections share a session; {POOLER}",
                self.place()
            ))),
        }
    }
}

/// A verdict, an event and an attempt as every claim has them.
fn ordinary(now: i64) -> (Verdict, Received, Call) {
    let claim_id = format!("claimgate-check-{}", Uuid::new_v4());
    let received = Received {
        source: Source { topic: claim_id.clone(), partition: 0, offset: 0 },
        key: Some(b"key".to_vec()),
        headers: vec![("name".to_owned(), Some(b"value".to_vec()))],
        payload: Some(b"{}".to_vec()),
        received_at: now,
        trace: TraceContext::fresh(Uuid::new_v4().as_u128()),
    };
    let verdict = Verdict { source: received.source.clone(), ..Verdict::ordinary(&claim_id) };
    let call = Call { id: Uuid::new_v4(), requested_at: now, ..Call::ordinary(&claim_id) };
    (verdict, received, call)
}
