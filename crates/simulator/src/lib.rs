//! Simulates the risk APIs: with faithful requests and answers, scriptable faults, and high speed.
//!
//! It is for the demo, the tests, the benchmarks and users' staging; `docs/simulator.md` is the
//! manual. It shares no code with claimgate's clients, and this package does not depend on
//! claimgate. Signature, envelopes and parameter tables were written a second time from the
//! providers' documents, so that a misreading in one shows in the other.
//!
//! In reading order: `server` passes a request to `tencent_cloud` or `wechat`, which check it as
//! the provider would. `plan` decides how the call ends, from the words of the account (`script`),
//! the random `faults` and the account's hash (`verdicts`). `visit` enters it in the `log`, and
//! `server` sends the answer. `control` has the endpoints for tests and people.
//!
//! The invariant: a call that is malformed, unsigned or replayed is never answered with a verdict,
//! and every call that reached the simulator whole is in the log before its answer leaves.

mod api;
mod args;
mod call;
mod control;
mod door;
mod faults;
mod form;
mod injected;
mod json;
mod log;
mod options;
mod plan;
mod reply;
mod requests;
mod respond;
mod script;
mod server;
mod state;
mod tencent_cloud;
mod trouble;
mod verdicts;
mod visit;
mod wechat;
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use api::Api;
pub use args::{SimulateArgs, Tolerance, run};
pub use call::{Call, Outcome, Totals};
pub use faults::{ApiFaults, Faults, InvalidFaults, Latency};
pub use log::CallLog;
pub use options::{
    APP_ID, APP_SECRET, SECRET_ID, SECRET_KEY, SIGNED_HOST, SimulatorOptions, TlsFiles,
};
pub use requests::Requested;
pub use verdicts::{Verdict, expected};

use door::Door;
use state::{Accepted, State};
use tencent_cloud::signature::SigningKey;

/// How long [`Simulator::stop`] waits for clients that began a request and do not finish it.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// A running simulator. It stops when dropped.
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    server: Option<JoinHandle<io::Result<()>>>,
}

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The address cannot be bound.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The files of the certificate cannot be used.
    #[error("{}: {source}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// The error of the system or of the TLS library.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The fault settings make no sense.
    #[error("faults of {0}")]
    Faults(#[from] InvalidFaults),
    /// The process cannot handle signals.
    #[error("signal handlers: {0}")]
    Signals(io::Error),
}

impl Simulator {
    /// Starts a simulator on the current runtime; it serves when this returns.
    ///
    /// # Errors
    /// [`SimulatorError`] if the address cannot be bound or the fault settings make no sense.
    pub async fn start(options: SimulatorOptions) -> Result<Self, SimulatorError> {
        let listen = options.listen;
        let tls = options.tls.as_ref().map(door::acceptor).transpose()?;
        let state = Arc::new(State::new(options)?);
        let refuse = |source| SimulatorError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let server =
            tokio::spawn(server::serve(Door::open(listener, address, tls), Arc::clone(&state)));
        Ok(Self { address, state, server: Some(server) })
    }

    /// Its address, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to use instead of the provider's `https://host`: `http://127.0.0.1:34567`.
    pub fn base_url(&self) -> String {
        let scheme = if self.state.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its log.
    pub fn calls(&self) -> &CallLog {
        &self.state.calls
    }

    /// The last whole requests, oldest first; none unless [`SimulatorOptions::remember_requests`]
    /// says how many.
    pub fn requests(&self) -> Vec<Requested> {
        self.state.requests.all()
    }

    /// Rotates credentials: from the next call on it accepts only these pairs of secret id and key,
    /// and these app secrets.
    pub fn accept_credentials(&self, keys: &[(&str, &str)], app_secrets: &[&str]) {
        let pair = |(id, key): &(&str, &str)| ((*id).to_owned(), SigningKey::new(&(*key).into()));
        self.state.accept(Accepted {
            keys: keys.iter().map(pair).collect(),
            app_secrets: app_secrets.iter().map(|secret| (*secret).into()).collect(),
        });
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        Faults::clone(&self.state.faults())
    }

    /// Replaces the faults, from the next call on.
    ///
    /// # Errors
    /// [`InvalidFaults`] if they make no sense; nothing changes then.
    pub fn set_faults(&self, faults: Faults) -> Result<(), InvalidFaults> {
        self.state.set_faults(faults)
    }

    /// Ends every access token: the next call with one gets 42001.
    pub fn expire_tokens(&self) {
        self.state.tokens().expire(Instant::now());
    }

    /// Forgets every access token: the next call with one gets 40001, as if another client had
    /// fetched a newer one.
    pub fn invalidate_tokens(&self) {
        self.state.tokens().forget();
    }

    /// Forgets the log, the requests, the nonces, the tickets and the faults set since the start;
    /// access tokens stay.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Stops: new connections are refused, calls in flight end, those that hang or wait are cut.
    pub async fn stop(mut self) {
        self.state.stopping.cancel();
        let Some(server) = self.server.take() else { return };
        match tokio::time::timeout(STOP_WITHIN, server).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the simulator ended badly: {error}"),
            Ok(Err(error)) => tracing::warn!(%error, "the simulator ended badly: {error}"),
            Err(_) => {
                tracing::debug!(
                    "the simulator leaves connections behind that are in the middle of a request"
                )
            }
        }
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.state.stopping.cancel();
    }
}

#[cfg(test)]
mod tests;
