//! Taking away what is past its retention: the only statements that drop or delete, and only the
//! owner of the tables may run them.
//!
//! Inserts wait for a moment at most. A partition is dropped under a lock of its parent, behind
//! which inserts queue up, so each try waits for the lock only briefly. (A table with a default
//! partition refuses `detach … concurrently`.) Rows are deleted some at a time.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::error::Failure;
use super::{PostgresStore, StoreError};

/// How long one try waits for its locks, and holds up inserts.
const LOCK_TIMEOUT_MS: u64 = 200;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// After this many tries the command ends.
const TRIES: u32 = 60;
/// Rows of one statement.
const ROWS: i64 = 1_000;

impl PostgresStore {
    /// Drops a partition. Its name is one that the server gave.
    pub(crate) async fn drop_partition(&self, name: &str) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            if self.try_to_drop(name).await.map_err(|failure| self.store_error(failure))? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(StoreError::Transient(format!(
            "{}: {name} was not dropped: another transaction used its table at each of {TRIES} \
             tries; run the command again when it has ended (pg_stat_activity shows it)",
            self.place()
        )))
    }

    /// Whether the locks were free.
    async fn try_to_drop(&self, name: &str) -> Result<bool, Failure> {
        let server = &self.connections;
        let mut lease = server.lease().await?;
        let mut transaction = server.answer(lease.begin()).await?;
        let bound = format!("set local lock_timeout = '{LOCK_TIMEOUT_MS}ms'");
        server.answer(sqlx::raw_sql(AssertSqlSafe(bound)).execute(&mut *transaction)).await?;
        // Another command may have been faster.
        let drop = sqlx::raw_sql(AssertSqlSafe(format!("drop table if exists {name}")));
        let drop = async {
            match drop.execute(&mut *transaction).await {
                Ok(_) => Ok(true),
                Err(error) if is_locked(&error) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let dropped = server.answer(drop).await?;
        if dropped {
            server.answer(transaction.commit()).await?;
        } else {
            server.answer(transaction.rollback()).await?;
        }
        lease.keep();
        Ok(dropped)
    }

    /// Deletes the rows of a table that are older than `kept`, some at a time, and says how many
    /// there were. The names are the caller's own.
    pub(crate) async fn delete_older(
        &self,
        table: &str,
        time_column: &str,
        kept: Duration,
    ) -> Result<u64, StoreError> {
        let sql = format!(
            "delete from {table} where ctid = any(array(
                select ctid from {table}
                    where {time_column} < now() - make_interval(secs => $1) limit $2))"
        );
        let mut deleted = 0;
        loop {
            let some = async |rows: &mut PgConnection| {
                let delete =
                    sqlx::query(AssertSqlSafe(sql.clone())).bind(kept.as_secs_f64()).bind(ROWS);
                Ok(delete.execute(rows).await?.rows_affected())
            };
            match self.removing(Purpose::Retention, some).await? {
                0 => return Ok(deleted),
                rows => deleted += rows,
            }
        }
    }

    /// Makes a change that the trigger of the evidence lets only the tables' owner make, and only
    /// for this purpose.
    pub(crate) async fn removing<T>(
        &self,
        purpose: Purpose,
        change: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        let allow = match purpose {
            Purpose::Retention => "set local claimgate.removal = 'retention'",
            Purpose::Erasure => "set local claimgate.removal = 'erasure'",
        };
        // What is read of it is what is changed, whatever others add meanwhile.
        self.in_transaction("begin isolation level repeatable read", async |connection| {
            sqlx::raw_sql(allow).execute(&mut *connection).await?;
            change(connection).await
        })
        .await
    }

    /// Says in `removals` who erases a person, and why; returns the row's number.
    pub(crate) async fn announce_erasure(&self, by: &str, why: &str) -> Result<i64, StoreError> {
        let insert = "insert into removals (removed_by, reason) values ($1, $2) returning id";
        let row: Vec<(i64,)> = self.fetch(sqlx::query_as(insert).bind(by).bind(why)).await?;
        Ok(row.first().map_or(0, |(id,)| *id))
    }

    /// Says in `removals` that rows of a table go for their age.
    pub(crate) async fn announce_expiry(
        &self,
        table: &str,
        kept: Duration,
        what: &str,
    ) -> Result<(), StoreError> {
        let insert = "insert into removals (removed_by, reason, relation, before)
            values ('audit.retention', $1, $2, now() - make_interval(secs => $3)) returning id";
        let insert = sqlx::query_as(insert).bind(what).bind(table).bind(kept.as_secs_f64());
        let _: Vec<(i64,)> = self.fetch(insert).await?;
        Ok(())
    }
}

/// Why evidence is taken away.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// It is past `[audit.retention]`.
    Retention,
    /// The law demands that a person is forgotten.
    Erasure,
}

fn is_locked(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}
