//! PostgreSQL: stores verdicts, attempts, events and dead letters.
//!
//! [`crate::schema`] has the tables' columns.
//!
//! | what | file |
//! | --- | --- |
//! | connects to the server, and sets up a session | `connections`, `session` |
//! | writes a batch, with which statements | `record`, `rows` |
//! | encrypts evidence | `cipher` |
//! | finds the rows that the server refuses | `faults` |
//! | says how two claims with one id differ | `conflicts` |
//! | stores token requests, and rulings of a policy in shadow | `exchanges`, `shadows` |
//! | hands rows out as CSV | `export` |
//! | makes tables and roles, and checks the worker's rights | `migrations`, `roles`, `rights` |
//! | looks after the tables, and removes old evidence | `upkeep`, `retire` |
//! | says what a failure means | `error` |
//!
//! The invariants: a verdict is in the tables together with its event and its attempts, or not at
//! all; and writing a batch again changes nothing.

mod cipher;
mod conflicts;
mod connections;
mod encrypted;
mod error;
mod exchanges;
mod export;
mod faults;
mod migrations;
mod record;
mod retire;
mod rights;
mod roles;
mod rows;
mod session;
mod settings;
mod shadows;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::QueryAs;
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection, Postgres};

use super::{Closed, Recording, Store, StoreError};
use crate::live::Live;
use crate::schema::{NewRow, Seal, Verdict};
pub(crate) use cipher::{EvidenceKeys, IS_ENCRYPTED};
use connections::Connections;
pub(crate) use encrypted::{Evidence, decrypt_payload};
use error::Failure;
use faults::Unkept;
pub(crate) use retire::Purpose;
pub use roles::ROLES;
pub use settings::{Caller, Settings};
use shadows::Shadows;

/// The store over PostgreSQL. Clones share their connections.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    connections: Arc<Connections>,
    evidence_keys: Live<EvidenceKeys>,
    unkept: Arc<Unkept>,
    shadows: Arc<Shadows>,
}

impl PostgresStore {
    /// Connects, so that a wrong address or password is known at once.
    ///
    /// # Errors
    /// [`StoreError::Transient`] where the server cannot be reached, [`StoreError::Fatal`] where it
    /// refuses.
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::lazy(settings)?;
        store.ping().await?;
        Ok(store)
    }

    /// The store of these settings, without a connection: the first use makes one.
    ///
    /// # Errors
    /// [`StoreError::Fatal`], naming the setting at fault.
    pub fn lazy(settings: &Settings) -> Result<Self, StoreError> {
        let connections = Connections::new(settings)?;
        let one_more = connections.one_more(settings.caller, settings.statement_timeout);
        Ok(Self {
            connections: Arc::new(connections),
            evidence_keys: EvidenceKeys::read(&settings.evidence_keys)?.into(),
            unkept: Arc::default(),
            shadows: Arc::new(Shadows::new(one_more)),
        })
    }

    /// A store for the status page. It has one connection of its own, which only reads, and uses
    /// the login of this store.
    pub fn for_viewers(&self, statement_timeout: Duration) -> Self {
        let connections = self.connections.one_more(Caller::Viewer, statement_timeout);
        Self { connections: Arc::new(connections), ..self.clone() }
    }

    /// Uses the login and the evidence keys of these settings from now on. The server is asked
    /// first whether it accepts the login; open connections stay.
    ///
    /// # Errors
    /// The key, and why nothing was changed: the server refuses the login, or it is another
    /// database, which does not hold what was decided here.
    pub async fn renew(&self, settings: &Settings) -> Result<(), StoreError> {
        let keys = EvidenceKeys::read(&settings.evidence_keys)?;
        if self.encrypts() && !keys.are_some() {
            let said = "`postgres.evidence_keys` is gone: evidence would be kept in clear";
            return Err(StoreError::Fatal(said.to_owned()));
        }
        self.connections.renew(settings).await.map_err(|failure| self.store_error(failure))?;
        self.evidence_keys.replace(keys);
        Ok(())
    }

    fn keys(&self) -> Arc<EvidenceKeys> {
        self.evidence_keys.now()
    }

    /// Where it is: `PostgreSQL at host:port/database`.
    pub fn place(&self) -> &str {
        self.connections.place()
    }

    /// Asks the server whether it answers.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let ask = async {
            let mut lease = self.connections.lease().await?;
            self.connections.answer(lease.ping()).await?;
            lease.keep();
            Ok(())
        };
        ask.await.map_err(|failure| self.store_error(failure))
    }

    /// Writes the rows that no claim waits for and that are not written yet, then closes the
    /// connections. For the end of a worker.
    pub async fn finish(&self) {
        self.shadows.finish().await;
        self.close().await;
    }

    /// Closes the connections that are not in use.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// Runs one query.
    pub(crate) async fn fetch<R>(
        &self,
        query: QueryAs<'_, Postgres, R, PgArguments>,
    ) -> Result<Vec<R>, StoreError>
    where
        R: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let ask = async {
            let mut lease = self.connections.lease().await?;
            let rows = self.connections.answer(query.fetch_all(&mut *lease)).await?;
            lease.keep();
            Ok(rows)
        };
        ask.await.map_err(|failure| self.store_error(failure))
    }

    /// Runs one query for evidence, and decrypts what it finds.
    pub(crate) async fn fetch_evidence<R>(
        &self,
        query: QueryAs<'_, Postgres, R, PgArguments>,
    ) -> Result<Vec<R>, StoreError>
    where
        R: Evidence + Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let mut rows = self.fetch(query).await?;
        for row in &mut rows {
            self.decrypt(row).map_err(|why| self.not_decrypted(&why))?;
        }
        Ok(rows)
    }

    /// The same, for questions about many claims, which one row shall not end: a row that cannot be
    /// decrypted comes without what is encrypted, and with the sentence that says why.
    pub(crate) async fn fetch_decryptable<R>(
        &self,
        query: QueryAs<'_, Postgres, R, PgArguments>,
    ) -> Result<Vec<(R, Option<String>)>, StoreError>
    where
        R: Evidence + Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let decrypted = |mut row: R| {
            let why = self.decrypt(&mut row).err();
            if why.is_some() {
                row.clear();
            }
            (row, why)
        };
        Ok(self.fetch(query).await?.into_iter().map(decrypted).collect())
    }

    /// Decrypts a row of evidence.
    ///
    /// # Errors
    /// As [`Evidence::decrypt`].
    pub(crate) fn decrypt(&self, row: &mut impl Evidence) -> Result<(), String> {
        row.decrypt(&self.keys())
    }

    /// The error where a question ends because a row cannot be decrypted.
    pub(crate) fn not_decrypted(&self, why: &str) -> StoreError {
        StoreError::Fatal(format!("{}: {why}", self.place()))
    }

    /// Whether there are keys, so that rows may be encrypted.
    pub(crate) fn encrypts(&self) -> bool {
        self.keys().are_some()
    }

    /// Inserts rows; returns what `rest` says, such as the keys of those that were not there.
    pub(crate) async fn insert<N: NewRow, R>(
        &self,
        rows: impl Iterator<Item = N> + Clone,
        rest: &str,
    ) -> Result<Vec<R>, StoreError>
    where
        R: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let arrays = N::arrays(rows).map_err(|error| StoreError::Fatal(error.to_string()))?;
        let insert = AssertSqlSafe(N::table().insert(rest));
        self.fetch(sqlx::query_as_with(insert, arrays)).await
    }

    /// Runs several queries in one snapshot, so that they see the same moment.
    pub(crate) async fn in_snapshot<T>(
        &self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        self.in_transaction("begin isolation level repeatable read read only", ask).await
    }

    /// Does all of it in one transaction that begins with this statement.
    async fn in_transaction<T>(
        &self,
        begin: &'static str,
        statements: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        let run = async {
            let server = &self.connections;
            let mut lease = server.lease().await?;
            let mut transaction = server.answer(lease.begin_with(begin)).await?;
            let done = server.answer(statements(&mut transaction)).await?;
            server.answer(transaction.commit()).await?;
            lease.keep();
            Ok(done)
        };
        run.await.map_err(|failure| self.store_error(failure))
    }

    /// The newest seal of any worker: a new chain of seals begins there.
    async fn newest_seal(&self) -> Result<Seal, StoreError> {
        let ask = async {
            let mut lease = self.connections.lease().await?;
            let seal = self.connections.answer(rows::select_newest_seal(&mut lease)).await?;
            lease.keep();
            Ok(seal)
        };
        ask.await.map_err(|failure| self.store_error(failure))
    }

    /// The error of a failure for which no row can be at fault.
    fn store_error(&self, failure: Failure) -> StoreError {
        failure.into_store_error(self.place())
    }
}

impl Store for PostgresStore {
    async fn recall(&self, claim_ids: Vec<String>) -> Result<HashMap<String, Verdict>, StoreError> {
        let ask = async {
            let mut lease = self.connections.lease().await?;
            let known =
                self.connections.answer(rows::select_verdicts(&mut lease, &claim_ids)).await?;
            lease.keep();
            Ok(known)
        };
        ask.await.map_err(|failure| self.store_error(failure))
    }

    async fn record(&self, batch: &Closed) -> Result<Recording, StoreError> {
        self.record_exchanges(batch.token_exchanges()).await?;
        let mut last = match batch.previous() {
            Some(seal) => seal,
            None => self.newest_seal().await?,
        };
        let overruled = self.record_batch(batch.completed(), batch.calls(), &mut last).await?;
        Ok(Recording { overruled, seal: Some(last) })
    }
}
