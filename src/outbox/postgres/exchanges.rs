//! Exchanges of access tokens: rows of `token_exchanges`.
//!
//! They belong to no claim and no verdict rests on them, so they are written before the batch that
//! brings them, in a statement of their own; one that PostgreSQL refuses is told to the log and
//! does not hold up the batch.

use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt;

use super::PostgresStore;
use super::encode::{Micros, Text, interval};
use super::error::Failure;
use crate::outbox::{StoreError, TokenExchange};
use crate::risk::FaultReason;

impl PostgresStore {
    /// Keeps exchanges of access tokens. Writing them again changes nothing.
    pub(super) async fn record_exchanges(
        &self,
        exchanges: &[TokenExchange],
    ) -> Result<(), StoreError> {
        if exchanges.is_empty() {
            return Ok(());
        }
        let write = async {
            let mut lease = self.connections.lease().await?;
            self.connections.answer(insert_exchanges(&mut lease, exchanges)).await?;
            lease.keep();
            Ok(())
        };
        match write.await {
            Ok(()) => Ok(()),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Data { message, .. }) => {
                tracing::error!(
                    db.error = message,
                    "PostgreSQL refuses {} exchanges of access tokens; they are not kept",
                    exchanges.len()
                );
                Ok(())
            }
        }
    }
}

async fn insert_exchanges(
    connection: &mut PgConnection,
    exchanges: &[TokenExchange],
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into token_exchanges (
            id, requested_at, latency, http_status, provider_code, outcome, reason, cause, request, response
        )
        select * from unnest(
            $1::uuid[], $2::timestamptz[], $3::interval[], $4::int[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::bytea[]
        )
        on conflict do nothing",
    )
    .bind(exchanges.iter().map(|exchange| exchange.id).bind_iter())
    .bind(exchanges.iter().map(|exchange| Micros(exchange.requested_at)).bind_iter())
    .bind(exchanges.iter().map(|exchange| interval(exchange.latency)).bind_iter())
    .bind(exchanges.iter().map(|exchange| exchange.http_status.map(i32::from)).bind_iter())
    .bind(exchanges.iter().map(|exchange| exchange.provider_code).bind_iter())
    .bind(exchanges.iter().map(|exchange| exchange.outcome.as_str()).bind_iter())
    .bind(exchanges.iter().map(|exchange| exchange.reason.map_or("", FaultReason::as_str)).bind_iter())
    .bind(exchanges.iter().map(|exchange| exchange.cause.as_deref().map(Text)).bind_iter())
    .bind(exchanges.iter().map(|exchange| Text(&exchange.request)).bind_iter())
    .bind(exchanges.iter().map(|exchange| exchange.response.as_deref()).bind_iter())
    .execute(connection)
    .await?;
    Ok(())
}
