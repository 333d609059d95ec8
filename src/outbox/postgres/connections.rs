//! A few connections, shared, and no wait without a bound.
//!
//! Why not sqlx's pool: it pings a connection when it comes back, without a bound, and holds its
//! permit meanwhile. A peer that falls silent at that moment costs the pool a connection for ever
//! (transact-rs/sqlx #4349).
//!
//! The invariants:
//! - A connection comes back only when every statement on it was answered; otherwise it is dropped,
//!   which closes its socket.
//! - A permit comes back with its [`Lease`], whatever happened.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::StoreError;
use super::error::{Failure, NO_CONNECTION};
use super::session::{self, Setting};
use super::settings::{Caller, Settings};
use crate::live::Live;
use crate::telemetry::PoolMeter;

/// The most connections, whatever the settings say.
const SIZE_MAX: u32 = 1_000;
/// A server that has not answered after this many times its own bound on a statement counts as
/// dead.
const MAX_WAIT: u32 = 2;
/// A connection that was idle for longer is asked for a sign of life before it is used.
const FRESH: Duration = Duration::from_secs(1);
/// A connection that is older than this is replaced: names may lead to other servers meanwhile, and
/// servers' memory grows.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How PostgreSQL ends its words where a statement was cancelled.
const TOOK_TOO_LONG: &str = "(57014)";

/// Host, port and database, for messages: nothing secret.
fn place(options: &PgConnectOptions) -> String {
    let (host, port) = (options.get_host(), options.get_port());
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("PostgreSQL at {host}:{port}/{database} (postgres.url)")
}

/// The connections to one server.
#[derive(Debug)]
pub(super) struct Connections {
    options: Live<PgConnectOptions>,
    /// Whether the server has ever accepted the login.
    was_accepted: AtomicBool,
    session: Vec<Setting>,
    /// The key that bounds a statement.
    timeout_key: Option<&'static str>,
    /// `PostgreSQL at host:port/database`, for messages: nothing secret.
    place: String,
    /// How many there are at once, at most.
    size: usize,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
    meter: PoolMeter,
    connect_timeout: Duration,
    /// The error where there was none within `connect_timeout`.
    no_connection: String,
    /// How long an answer may take.
    max_wait: Duration,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    born: Instant,
    since: Instant,
}

impl Connections {
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let options = settings.connect_options()?;
        let size = settings.max_connections.min(SIZE_MAX) as usize;
        Ok(Self {
            place: place(&options),
            size,
            permits: Semaphore::new(size),
            idle: Mutex::default(),
            meter: PoolMeter::default(),
            connect_timeout: settings.connect_timeout,
            no_connection: NO_CONNECTION.to_owned(),
            max_wait: settings.statement_timeout * MAX_WAIT,
            timeout_key: settings.caller.timeout_key(),
            session: session::settings(settings.statement_timeout, settings.caller),
            options: options.into(),
            was_accepted: AtomicBool::new(false),
        })
    }

    /// One more connection with the same login, for statements of this caller, which take no longer
    /// than this. Those who wait for it do not delay others.
    pub(super) fn one_more(&self, caller: Caller, statement_timeout: Duration) -> Self {
        let connect_timeout = self.connect_timeout.min(statement_timeout);
        let bound = connect_timeout.as_millis();
        Self {
            place: self.place.clone(),
            size: 1,
            permits: Semaphore::new(1),
            idle: Mutex::default(),
            meter: PoolMeter::silent(),
            connect_timeout,
            no_connection: format!(
                "no connection within {bound} ms: others are asking, or the server does not answer"
            ),
            max_wait: statement_timeout * MAX_WAIT,
            timeout_key: caller.timeout_key(),
            session: session::settings(statement_timeout, caller),
            options: self.options.clone(),
            was_accepted: AtomicBool::new(true),
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The bound on a statement.
    pub(super) fn statement_timeout(&self) -> Duration {
        self.max_wait / MAX_WAIT
    }

    /// A connection that is not shared, whose statements and locks have no time limit.
    pub(super) async fn unbounded(&self) -> Result<PgConnection, Failure> {
        let mut settings = self.session.clone();
        for (name, value) in &mut settings {
            if matches!(*name, "statement_timeout" | "lock_timeout") {
                *value = "0".to_owned();
            }
        }
        let connected = timeout(self.connect_timeout, self.connect(&settings)).await;
        connected.unwrap_or_else(|_| Err(self.timed_out()))
    }

    fn timed_out(&self) -> Failure {
        let said = format!("{}: {}", self.place, self.no_connection);
        Failure::Store(StoreError::Transient(said))
    }

    /// A connection to use, an idle one or a new one.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, Failure> {
        let bounded = timeout(self.connect_timeout, async {
            // The semaphore is never closed.
            let permit = self
                .permits
                .acquire()
                .await
                .map_err(|_| Failure::new(&self.place, &sqlx::Error::PoolClosed))?;
            let (connection, born) = match self.take_idle().await {
                Some(found) => found,
                None => (self.connect(&self.session).await?, Instant::now()),
            };
            self.count(0);
            Ok(Lease { connection: Some(connection), born, home: self, _permit: permit })
        });
        bounded.await.unwrap_or_else(|_| Err(self.timed_out()))
    }

    async fn connect(&self, settings: &[Setting]) -> Result<PgConnection, Failure> {
        let connected = self.options.now().connect().await;
        let mut connection = connected.map_err(|error| {
            let failure = Failure::new(&self.place, &error);
            // The login was accepted before, so it is being changed: the new one may be on its way.
            if self.was_accepted.load(Ordering::Relaxed) {
                failure.of_rotation(&error)
            } else {
                failure
            }
        })?;
        session::bind(&mut connection, &self.place, settings).await?;
        self.was_accepted.store(true, Ordering::Relaxed);
        Ok(connection)
    }

    /// Uses another login to the same database, once the server has accepted it.
    pub(super) async fn renew(&self, settings: &Settings) -> Result<(), Failure> {
        let options = settings.connect_options().map_err(Failure::Store)?;
        let (new, old) = (place(&options), self.place());
        if new != old || options.get_socket() != self.options.now().get_socket() {
            let said = format!("{old}: another database ({new}) needs a restart");
            return Err(Failure::Store(StoreError::Fatal(said)));
        }
        let connected = timeout(self.connect_timeout, options.connect()).await;
        let connected = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let connection = connected.map_err(|error| Failure::new(old, &error))?;
        drop(timeout(FRESH, connection.close()).await);
        self.options.replace(options);
        // Those in use keep the old login, for `LIFETIME` at most.
        self.idle().clear();
        Ok(())
    }

    async fn take_idle(&self) -> Option<(PgConnection, Instant)> {
        let Idle { mut connection, born, since } = self.idle().pop()?;
        if born.elapsed() > LIFETIME {
            self.idle().clear();
            return None;
        }
        if since.elapsed() < FRESH {
            return Some((connection, born));
        }
        match timeout(self.max_wait.min(self.connect_timeout / 2), connection.ping()).await {
            Ok(Ok(())) => Some((connection, born)),
            // What ended this one has likely ended the others too.
            Ok(Err(_)) | Err(_) => {
                self.idle().clear();
                None
            }
        }
    }

    /// Waits for an answer, but not for ever.
    pub(super) async fn answer<T>(
        &self,
        statement: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, Failure> {
        match timeout(self.max_wait, statement).await {
            Ok(answer) => answer.map_err(|error| self.failure(&error)),
            Err(_) => {
                let message =
                    format!("{}: no answer within {} ms", self.place, self.max_wait.as_millis());
                Err(Failure::Store(StoreError::Transient(message)))
            }
        }
    }

    /// The failure of a statement. If it took too long, the failure names the key that bounds it.
    fn failure(&self, error: &sqlx::Error) -> Failure {
        match Failure::new(&self.place, error) {
            Failure::Store(StoreError::Transient(said)) if said.ends_with(TOOK_TOO_LONG) => {
                let Some(key) = self.timeout_key else {
                    return Failure::Store(StoreError::Transient(said));
                };
                let said = format!("{said}; `{key}` is the bound: raise it, or ask about less");
                Failure::Store(StoreError::Transient(said))
            }
            other => other,
        }
    }

    /// Closes the idle connections.
    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for Idle { connection, .. } in idle {
            // A server that does not get this finds out by itself.
            drop(timeout(FRESH, connection.close()).await);
        }
    }

    /// Reports the number of connections; `returning` of those in use are about to come back.
    fn count(&self, returning: usize) {
        let in_use = self.size.saturating_sub(self.permits.available_permits());
        self.meter.set(self.idle().len(), in_use.saturating_sub(returning));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. Dropped in the middle of something, by an error, a timeout or a cancelled
/// future, it is closed at once.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    connection: Option<PgConnection>,
    born: Instant,
    home: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

const LEASED: &str = "the connection is there until the lease ends";

impl Lease<'_> {
    /// Every statement was answered: the connection may be used again.
    pub(super) fn keep(mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.idle().push(Idle { connection, born: self.born, since: Instant::now() });
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // What ended this connection has likely ended the others too: one failure is enough to find
        // out.
        if self.connection.take().is_some() {
            self.home.idle().clear();
        }
        // The permit comes back right after this.
        self.home.count(1);
    }
}

impl Deref for Lease<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(LEASED)
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(LEASED)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers no call: the error says which bound ended the wait.
    #[tokio::test]
    async fn a_wait_without_a_connection_ends_and_names_its_bound() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = silent.local_addr().expect("an address").port();
        let url = format!("postgres://claimgate@127.0.0.1:{port}/claims");
        let connect_timeout = Duration::from_millis(60);
        let settings = Settings { connect_timeout, ..Settings::at(url) };
        let own = Connections::new(&settings).expect("settings");
        let viewers = own.one_more(Caller::Viewer, Duration::from_millis(50));
        let key = "no connection within `postgres.connect_timeout`";
        let cause = "no connection within 50 ms: others are asking, or the server does not answer";
        for (connections, words) in [(&own, key), (&viewers, cause)] {
            let failure = connections.lease().await.expect_err("nobody answers");
            let said = failure.into_store_error("").to_string();
            assert!(said.ends_with(words), "{said}");
        }
        // Upkeep beside the worker would stop for good if this waited for ever.
        let failure = timeout(10 * connect_timeout, own.unbounded()).await.expect("a bound");
        let said = failure.expect_err("nobody answers").into_store_error("").to_string();
        assert!(said.ends_with(key), "{said}");
    }
}
