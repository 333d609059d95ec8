//! What tables need as time goes on: partitions for the months to come, and counts of the hours
//! that have gone.
//!
//! Both are functions of the database with its owner's rights, which workers may call and nothing
//! else. Any number of workers may do so at once.

use std::time::Duration;

use sqlx::Connection;
use time::OffsetDateTime;
use tokio::time::timeout;

use super::error::Failure;
use super::{PostgresStore, StoreError};

/// Months of partitions that are made ahead: this one and the three that follow.
const MONTHS_AHEAD: i32 = 4;
/// How long the count of decisions may take, far more than it needs: a server that is gone without
/// a word would hold up all later upkeep of this worker.
const COUNT_TIMEOUT: Duration = Duration::from_secs(3_600);

impl PostgresStore {
    /// Makes the partitions of this month and the next ones that do not exist yet, and returns
    /// their names. Inserts do not depend on it: without a partition of their own, rows go to the
    /// default one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ensure_partitions(&self) -> Result<Vec<String>, StoreError> {
        let made = sqlx::query_as(
            "select claimgate_ensure_partitions((now() at time zone 'UTC')::date, $1)",
        )
        .bind(MONTHS_AHEAD);
        let made: Vec<(String,)> = self.fetch(made).await?;
        Ok(made.into_iter().map(|(name,)| name).collect())
    }

    /// Counts the verdicts that were recorded since the last time into `decision_counts`, and
    /// returns up to where; `None` where there is nothing to do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_decisions(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        // An hour's verdicts can be many, and the first time counts all there are: a connection of
        // its own, without the bounds of other statements.
        let connection = self.connections.unbounded().await;
        let mut connection = connection.map_err(|failure| self.store_error(failure))?;
        let count = async {
            let counted = sqlx::query_scalar("select claimgate_count_decisions()");
            let counted = counted.fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(counted)
        };
        let counted = timeout(COUNT_TIMEOUT, count).await.map_err(|_| {
            let place = self.place();
            StoreError::Transient(format!("{place}: no count of decisions in {COUNT_TIMEOUT:?}"))
        })?;
        counted.map_err(|error| self.store_error(Failure::new(self.place(), &error)))
    }
}
