//! Who may do what: the roles, and that a worker is not the owner of what it writes.
//!
//! Rights keep a worker from changing evidence only where it is not the tables' owner.

use sqlx::Connection;

use super::{PostgresStore, StoreError};

/// Creates the roles and grants them their rights.
pub const ROLES: &str = include_str!("roles.sql");

/// The owner of the tables, where this role is not the owner itself and may act as it.
const OWNER: &str =
    "select quote_ident(rolname) from pg_class join pg_roles on pg_roles.oid = relowner
    where pg_class.oid = to_regclass('verdicts') and rolname <> current_user
        and pg_has_role(pg_roles.oid, 'usage')";

/// Whether this role has the rights of the tables' owner.
const OWNS: &str = "select pg_has_role(relowner, 'usage') from pg_class
    where oid = to_regclass('verdicts')";

impl PostgresStore {
    /// Creates the roles of [`ROLES`] where they are missing, and grants them their rights.
    ///
    /// # Errors
    /// [`StoreError`]: this role may not create roles, or does not own the tables.
    pub async fn create_roles(&self) -> Result<(), StoreError> {
        let connection = self.connections.unbounded().await;
        let mut connection = connection.map_err(|failure| self.store_error(failure))?;
        let create = async {
            let mut transaction = connection.begin().await?;
            // Behind a long transaction this gives up soon: workers queue up behind the lock.
            sqlx::raw_sql("set local lock_timeout = '5s'").execute(&mut *transaction).await?;
            sqlx::raw_sql(ROLES).execute(&mut *transaction).await?;
            transaction.commit().await?;
            connection.close().await
        };
        create.await.map_err(|error| {
            StoreError::Fatal(format!(
                "{}: the roles were not created: {error}; if a lock timed out, run it again when \
                 no long transaction reads the tables",
                self.place()
            ))
        })
    }

    /// The owner of the tables, if it is another role that this one may act as.
    pub(super) async fn other_owner(&self) -> Result<Option<String>, StoreError> {
        let owner: Vec<(String,)> = self.fetch(sqlx::query_as(OWNER)).await?;
        Ok(owner.into_iter().map(|(name,)| name).next())
    }

    /// Whether this role may change the tables themselves, because it is their owner or a
    /// superuser.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_owner(&self) -> Result<bool, StoreError> {
        let owns: Vec<(bool,)> = self.fetch(sqlx::query_as(OWNS)).await?;
        Ok(owns == [(true,)])
    }
}
