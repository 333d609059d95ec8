//! The schema: applied and checked.
//!
//! The migrations are part of the binary. A database that is ahead of it, in the middle of a
//! rolling update, is no error.

use sqlx::migrate::{MigrateError, Migrator};

use super::error::{changed_migration, of_migration};
use super::{PostgresStore, StoreError};

/// How long a lock is waited for, as a multiple of the bound on a statement: five minutes by
/// default. It may be another worker's that migrates, or a table's.
const LOCK_WAIT: u32 = 30;

impl PostgresStore {
    /// Applies the migrations that are missing and says how many. Several workers may do so at
    /// once. Where none is missing, a role that may only insert and select is enough.
    ///
    /// # Errors
    /// [`StoreError`], naming the migration at fault.
    pub async fn migrate(&self) -> Result<usize, StoreError> {
        let missing = match self.schema_state().await? {
            State::Current => return Ok(0),
            State::Changed(version) => {
                return Err(StoreError::Fatal(changed_migration(self.place(), version)));
            }
            State::Missing(versions) => versions.len(),
        };
        // A migration may take long, and may wait for another worker's: a connection of its own,
        // without the bounds of other statements. Any login of the database may hold the lock that
        // workers which migrate wait for, so that wait has a bound.
        let connection = self.connections.unbounded().await;
        let mut connection = connection.map_err(|failure| self.store_error(failure))?;
        let owner = self.other_owner().await?;
        let bound = self.connections.statement_timeout().saturating_mul(LOCK_WAIT).as_millis();
        let bound = format!("set lock_timeout = '{}ms'", bound.min(i32::MAX as u128));
        let apply = async {
            sqlx::raw_sql(sqlx::AssertSqlSafe(bound)).execute(&mut connection).await?;
            // What a migration makes belongs to whom the rest belongs.
            if let Some(owner) = owner {
                let act = sqlx::AssertSqlSafe(format!("set role {owner}"));
                sqlx::raw_sql(act).execute(&mut connection).await?;
            }
            migrator().run_direct(None, &mut connection, false).await?;
            sqlx::Connection::close(connection).await?;
            Ok(missing)
        };
        apply.await.map_err(|error: MigrateError| of_migration(self.place(), &error))
    }

    /// Checks that the database has every migration this version needs.
    ///
    /// # Errors
    /// [`StoreError::Fatal`] with the first migration that is missing or another one.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        match self.schema_state().await? {
            State::Current => Ok(()),
            State::Changed(version) => {
                Err(StoreError::Fatal(changed_migration(self.place(), version)))
            }
            State::Missing(versions) => {
                let first = versions.first().map(String::as_str).unwrap_or_default();
                let message = format!(
                    "{}: {} of the migrations are missing, from {first} on: run `claimgate \
                     migrate`",
                    self.place(),
                    versions.len()
                );
                Err(StoreError::Fatal(message))
            }
        }
    }

    async fn schema_state(&self) -> Result<State, StoreError> {
        let exists = sqlx::query_as("select to_regclass('_sqlx_migrations') is not null");
        let exists: Vec<(bool,)> = self.fetch(exists).await?;
        let mut applied: Vec<(i64, Vec<u8>)> = Vec::new();
        if exists == [(true,)] {
            applied = self
                .fetch(sqlx::query_as(
                    "select version, checksum from _sqlx_migrations where success",
                ))
                .await?;
        }
        Ok(State::of(&migrator(), &applied))
    }
}

/// How the database's schema stands to this version's.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Current,
    /// The migrations to come, as `4 partitions`.
    Missing(Vec<String>),
    /// A migration was applied with other content.
    Changed(i64),
}

impl State {
    fn of(migrator: &Migrator, applied: &[(i64, Vec<u8>)]) -> Self {
        let mut missing = Vec::new();
        for migration in migrator.iter() {
            match applied.iter().find(|(version, _)| *version == migration.version) {
                Some((_, checksum)) if *checksum == *migration.checksum => {}
                Some((version, _)) => return Self::Changed(*version),
                None => missing.push(format!("{} {}", migration.version, migration.description)),
            }
        }
        if missing.is_empty() { Self::Current } else { Self::Missing(missing) }
    }
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_names_missing_or_changed_migrations_but_not_newer_ones() {
        let migrator = migrator();
        let all: Vec<(i64, Vec<u8>)> =
            migrator.iter().map(|each| (each.version, each.checksum.to_vec())).collect();
        let newer = [all.clone(), vec![(9_999, vec![1])]].concat();
        assert_eq!(State::of(&migrator, &all), State::Current);
        assert_eq!(State::of(&migrator, &newer), State::Current);
        let without_4 = [&all[..3], &all[4..]].concat();
        assert_eq!(
            State::of(&migrator, &without_4),
            State::Missing(vec!["4 token exchanges".to_owned()])
        );
        let changed = [vec![(1, vec![0])], all[1..].to_vec()].concat();
        assert_eq!(State::of(&migrator, &changed), State::Changed(1));
    }
}
