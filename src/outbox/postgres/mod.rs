//! PostgreSQL: the record of what was decided, asked, received and refused.
//!
//! The only files that know SQL, with [`crate::audit`]. [`PostgresStore`] owns the connections; [`record`] is the transaction of
//! a batch, `rows` its statements, `schema` the migrations, `error` what a failure means.
//!
//! The invariants:
//! - A batch is in the tables whole or not at all, and writing it again changes nothing.
//! - No wait is without a bound, and a connection on which one ran out is closed, never pooled: sqlx would hold its permit for
//!   ever if it were dropped in the middle of a statement with a silent peer (transact-rs/sqlx #4349).

mod encode;
mod error;
mod record;
mod rows;
mod schema;
mod settings;

use std::collections::HashMap;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::QueryAs;
use sqlx::{Connection, FromRow, PgConnection, Postgres};

use super::{Disposition, Sealed, Store, StoreError};
use crate::decision::Verdict;
use error::Failure;
pub use settings::Settings;

/// A server that has not answered after this many times its own bound on a statement is taken for dead.
const PATIENCE: u32 = 2;

/// The store over PostgreSQL. Clones share their connections.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    options: PgConnectOptions,
    /// `PostgreSQL at host:port/database`, for messages: nothing secret.
    place: Arc<str>,
    /// How long an answer may take.
    patience: Duration,
}

impl PostgresStore {
    /// Connects, so that a wrong address or password is known at once.
    ///
    /// # Errors
    /// [`StoreError::Transient`] where the server cannot be reached, [`StoreError::Fatal`] where it refuses.
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::lazy(settings)?;
        store.ping().await?;
        Ok(store)
    }

    /// The store of these settings, without a connection: the first use makes one. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Fatal`], naming the setting at fault.
    pub fn lazy(settings: &Settings) -> Result<Self, StoreError> {
        let options = settings.connect_options()?;
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let place = format!("PostgreSQL at {}:{}/{database}", options.get_host(), options.get_port()).into();
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.connect_timeout)
            .connect_lazy_with(options.clone());
        Ok(Self { pool, options, place, patience: settings.statement_timeout * PATIENCE })
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let ask = async {
            let mut lease = self.lease().await?;
            self.answer(lease.ping()).await?;
            lease.keep();
            Ok(())
        };
        ask.await.map_err(|failure: Failure| failure.into_store_error(&self.place))
    }

    /// Closes the connections once nobody uses them.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Runs one query.
    pub(crate) async fn fetch<R>(&self, query: QueryAs<'_, Postgres, R, PgArguments>) -> Result<Vec<R>, StoreError>
    where
        R: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let ask = async {
            let mut lease = self.lease().await?;
            let rows = self.answer(query.fetch_all(&mut *lease)).await?;
            lease.keep();
            Ok(rows)
        };
        ask.await.map_err(|failure: Failure| failure.into_store_error(&self.place))
    }

    /// A connection that is closed, not pooled, unless its user says that it is sound.
    async fn lease(&self) -> Result<Lease, Failure> {
        match self.pool.acquire().await {
            Ok(connection) => Ok(Lease(Some(connection))),
            Err(error) => Err(Failure::new(&self.place, &error)),
        }
    }

    /// Waits for a statement, but not for ever.
    async fn answer<T>(&self, statement: impl Future<Output = sqlx::Result<T>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.patience, statement).await {
            Ok(answer) => answer.map_err(|error| Failure::new(&self.place, &error)),
            Err(_) => {
                let message = format!("{}: no answer within {} ms", self.place, self.patience.as_millis());
                Err(Failure::Store(StoreError::Transient(message)))
            }
        }
    }
}

impl Store for PostgresStore {
    async fn recall(&self, claim_ids: Vec<String>) -> Result<HashMap<String, Verdict>, StoreError> {
        if claim_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ask = async {
            let mut lease = self.lease().await?;
            let known = self.answer(rows::select_verdicts(&mut lease, &claim_ids)).await?;
            lease.keep();
            Ok(known)
        };
        ask.await.map_err(|failure: Failure| failure.into_store_error(&self.place))
    }

    async fn record(&self, batch: &Sealed) -> Result<Vec<(usize, Disposition)>, StoreError> {
        self.record_batch(batch.settled(), batch.calls()).await
    }
}

/// A connection in use. Dropped in the middle of something, by an error, a timeout or a cancelled future, it leaves the pool and
/// is closed at once, without a farewell that a silent peer could keep it from saying.
#[derive(Debug)]
struct Lease(Option<PoolConnection<Postgres>>);

const LEASED: &str = "the connection is there until the lease ends";

impl Lease {
    /// Every statement was answered: the connection may be used again.
    fn keep(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect(LEASED)
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect(LEASED)
    }
}
