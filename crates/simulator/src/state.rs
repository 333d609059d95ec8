//! What all calls share.
//!
//! Every lock is held for a few instructions and never across an `.await`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
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

/// The accepted credentials.
pub(super) struct Accepted {
    pub(super) keys: Vec<(String, SigningKey)>,
    pub(super) app_secrets: Vec<SecretString>,
}

pub(super) struct State {
    pub(super) options: SimulatorOptions,
    accepted: ArcSwap<Accepted>,
    pub(super) calls: CallLog,
    pub(super) requests: Requests,
    pub(super) stopping: CancellationToken,
    faults: ArcSwap<Faults>,
    nonces: Mutex<Nonces>,
    tickets: Mutex<Tickets>,
    tokens: Mutex<Tokens>,
}

impl State {
    pub(super) fn new(options: SimulatorOptions) -> Result<Self, InvalidFaults> {
        options.faults.check()?;
        Ok(Self {
            accepted: ArcSwap::from_pointee(Accepted {
                keys: vec![(options.secret_id.clone(), SigningKey::new(&options.secret_key))],
                app_secrets: vec![options.app_secret.clone()],
            }),
            calls: CallLog::new(options.log_capacity),
            requests: Requests::new(options.remember_requests),
            stopping: CancellationToken::new(),
            faults: ArcSwap::from_pointee(options.faults.clone()),
            nonces: Mutex::default(),
            tickets: Mutex::new(Tickets::new(options.log_capacity)),
            tokens: Mutex::default(),
            options,
        })
    }

    pub(super) fn accepted(&self) -> Arc<Accepted> {
        self.accepted.load_full()
    }

    pub(super) fn accept(&self, accepted: Accepted) {
        self.accepted.store(Arc::new(accepted));
    }

    pub(super) fn faults(&self) -> Arc<Faults> {
        self.faults.load_full()
    }

    pub(super) fn set_faults(&self, faults: Faults) -> Result<(), InvalidFaults> {
        faults.check()?;
        self.replace_faults(faults);
        Ok(())
    }

    fn replace_faults(&self, faults: Faults) {
        self.faults.store(Arc::new(faults));
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
