//! Exchanges of access tokens: rows of `token_exchanges`.
//!
//! They belong to no claim and no verdict depends on them, so they are written before the batch
//! that brings them, in a statement of their own. One that PostgreSQL refuses is logged and does
//! not delay the batch.

use super::PostgresStore;
use super::error::Failure;
use crate::outbox::{StoreError, TokenExchange};
use crate::schema;

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
            self.connections.answer(schema::insert(&mut lease, exchanges.iter())).await?;
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
