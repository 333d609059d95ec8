//! What all calls share.
//!
//! Every lock is held for a few instructions and never across an `.await`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::faults::{Faults, InvalidFaults};
use super::log::CallLog;
use super::options::SimulatorOptions;
use super::requests::Requests;
use super::tencent_cloud::nonces::Nonces;
use super::tencent_cloud::signature::SigningKey;
use super::tencent_cloud::tickets::Tickets;
use super::wechat::Tokens;

/// The credentials that are taken.
pub(super) struct Accepted {
    pub(super) keys: Vec<(String, SigningKey)>,
    pub(super) app_secrets: Vec<SecretString>,
}

pub(super) struct State {
    pub(super) options: SimulatorOptions,
    accepted: RwLock<Arc<Accepted>>,
    pub(super) calls: CallLog,
    pub(super) requests: Requests,
    pub(super) stopping: CancellationToken,
    faults: RwLock<Arc<Faults>>,
    nonces: Mutex<Nonces>,
    tickets: Mutex<Tickets>,
    tokens: Mutex<Tokens>,
}

impl State {
    pub(super) fn new(options: SimulatorOptions) -> Result<Self, InvalidFaults> {
        options.faults.check()?;
        Ok(Self {
            accepted: RwLock::new(Arc::new(Accepted {
                keys: vec![(options.secret_id.clone(), SigningKey::new(&options.secret_key))],
                app_secrets: vec![options.app_secret.clone()],
            })),
            calls: CallLog::new(options.log_capacity),
            requests: Requests::new(options.remember_requests),
            stopping: CancellationToken::new(),
            faults: RwLock::new(Arc::new(options.faults.clone())),
            nonces: Mutex::default(),
            tickets: Mutex::new(Tickets::new(options.log_capacity)),
            tokens: Mutex::default(),
            options,
        })
    }

    pub(super) fn accepted(&self) -> Arc<Accepted> {
        Arc::clone(&self.accepted.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn accept(&self, accepted: Accepted) {
        *self.accepted.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(accepted);
    }

    pub(super) fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_faults(&self, faults: Faults) -> Result<(), InvalidFaults> {
        faults.check()?;
        self.replace_faults(faults);
        Ok(())
    }

    fn replace_faults(&self, faults: Faults) {
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
    }

    pub(super) fn nonces(&self) -> MutexGuard<'_, Nonces> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything as at the start, but for access tokens, which stay as they are, and calls in
    /// flight.
    pub(super) fn reset(&self) {
        self.calls.clear();
        self.requests.clear();
        *self.nonces() = Nonces::default();
        *self.tickets() = Tickets::new(self.options.log_capacity);
        self.replace_faults(self.options.faults.clone());
    }
}

pub(super) fn unix_seconds() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}
