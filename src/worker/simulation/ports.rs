//! The store and the APIs as one life of a worker sees them: with delays and faults, and with a
//! journal.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::journal::{Journal, Life};
use super::plan::ApiProfile;
use crate::assess::exchange::{Exchange, Failure, Http, Response};
use crate::claim::EventError;
use crate::outbox::{Closed, RecordOutcome, Recording, Store, StoreError};
use crate::risk::Request;
use crate::schema::Verdict;
use crate::testing::{FakeStore, FaultProfile, InjectedFault, Process};

/// Postgres, far away.
#[derive(Debug, Clone)]
pub(super) struct RemoteStore {
    pub(super) store: FakeStore,
    pub(super) faults: Arc<Mutex<FaultProfile>>,
    pub(super) random: Arc<Mutex<Rng>>,
    pub(super) process: Process,
    pub(super) journal: Journal,
    pub(super) life: Life,
}

impl RemoteStore {
    async fn transmit(&self) -> InjectedFault {
        let (latency, fault) = {
            let (faults, mut random) =
                (self.faults.lock().expect("no panic"), self.random.lock().expect("no panic"));
            (faults.latency(&mut random), faults.next_fault(&mut random))
        };
        sleep(latency).await;
        fault
    }

    async fn ask<T>(
        &self,
        operation: impl AsyncFnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let away = || StoreError::Transient("the simulated store is away".to_owned());
        self.process.thawed().await;
        let fault = self.transmit().await;
        let answer = if fault == InjectedFault::Refused { Err(away()) } else { operation().await };
        self.transmit().await;
        self.process.thawed().await;
        if fault == InjectedFault::Done { answer } else { Err(away()) }
    }
}

impl Store for RemoteStore {
    async fn recall(&self, claim_ids: Vec<String>) -> Result<HashMap<String, Verdict>, StoreError> {
        self.ask(async || {
            self.journal.notes().recall(self.life, &claim_ids);
            self.store.recall(claim_ids.clone()).await
        })
        .await
    }

    async fn record(&self, batch: &Closed) -> Result<Recording, StoreError> {
        let recorded = self.ask(async || {
            let recorded = self.store.record(batch).await?;
            let decided = decided(batch, &recorded);
            decided.for_each(|claim_id| self.journal.notes().record(claim_id));
            Ok(recorded)
        });
        let recorded = recorded.await?;
        decided(batch, &recorded)
            .for_each(|claim_id| self.journal.notes().know(self.life, claim_id));
        Ok(recorded)
    }
}

/// The claims of a batch that have a verdict since it was recorded, or had one before.
fn decided<'a>(batch: &'a Closed, recorded: &'a Recording) -> impl Iterator<Item = &'a str> {
    let is_refused = |index: usize| {
        let mut overruled = recorded.overruled.iter();
        overruled.any(|(of, outcome)| *of == index && is_unrecordable(outcome))
    };
    let completed = batch.completed().iter().enumerate();
    completed.filter_map(move |(index, completed)| match &completed.outcome {
        RecordOutcome::Decided(verdict) if !is_refused(index) => Some(verdict.claim_id.as_str()),
        _ => None,
    })
}

fn is_unrecordable(outcome: &RecordOutcome) -> bool {
    let RecordOutcome::DeadLettered(reason) = outcome else { return false };
    reason.error == EventError::Unrecordable
}

/// What the APIs do, the same for every life.
#[derive(Debug)]
pub(super) struct Apis {
    pub(super) seed: u64,
    pub(super) faults: f64,
    pub(super) stubborn: u32,
    /// By API.
    pub(super) away: [bool; 2],
    /// By API.
    pub(super) api_profiles: [ApiProfile; 2],
    /// Calls so far, by claim.
    pub(super) asked: HashMap<String, u32>,
}

/// The risk APIs, far away.
#[derive(Debug, Clone)]
pub(super) struct RemoteApis {
    pub(super) apis: Arc<Mutex<Apis>>,
    pub(super) process: Process,
    pub(super) journal: Journal,
    pub(super) life: Life,
}

impl Http for RemoteApis {
    async fn send(&self, request: Request, timeout: Duration) -> Exchange {
        let (sent, url) = (Instant::now(), request.url);
        let (claim_id, subject) = (parameter(&url, "encryptedcode"), parameter(&url, "uid"));
        let number = self.journal.notes().call(self.life, &claim_id, &subject);
        let (latency, result) =
            self.apis.lock().expect("no panic").answer(&url, &claim_id, &subject);
        let result = if latency < timeout { result } else { Err(Failure::Timeout) };
        sleep(latency.min(timeout)).await;
        self.process.thawed().await;
        self.journal.notes().call_ended(number);
        Exchange { latency: sent.elapsed(), result, cut: None, cause: None }
    }
}

impl Apis {
    fn answer(
        &mut self,
        url: &str,
        claim_id: &str,
        subject: &str,
    ) -> (Duration, Result<Response, Failure>) {
        let asked = self.asked.entry(claim_id.to_owned()).or_default();
        *asked += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, claim_id, *asked).hash(&mut hasher);
        let mut random = Rng::with_seed(hasher.finish());
        let api = usize::from(url.contains("EncryptedCode="));
        let profile = self.api_profiles[api];
        let latency = profile.slower + Duration::from_millis(random.u64(1..80));
        if self.away[api] {
            return (latency, Err(Failure::Connect));
        }
        let answer = |status: u16, body: String| {
            let body = body.into_bytes();
            Ok(Response { status, version: "1.1", retry_after: None, body })
        };
        let code =
            |code: i64| answer(200, format!("{{\"code\":{code},\"message\":\"simulated\"}}"));
        if let Some(always) = profile.code {
            return (latency, code(always));
        }
        if random.f64() < profile.fails {
            return (latency, code(4));
        }
        if subject.starts_with("stubborn") && *asked <= self.stubborn {
            return (latency, code(4));
        }
        if random.f64() >= self.faults {
            // Another level each time: a second call may get another answer.
            return (latency, answer(200, format!("{{\"code\":0,\"level\":{}}}", random.u8(0..5))));
        }
        match random.u8(0..12) {
            0..3 => (latency, code(4)),
            // A replayed nonce, a refusal, wrong credentials.
            3 => (latency, code(4500)),
            9 => (latency, code(4000)),
            10 => (latency, code(4100)),
            4 => (latency, answer(503, String::new())),
            5 => (latency, Err(Failure::Broken)),
            6 => (Duration::from_secs(3_600), Err(Failure::Timeout)),
            7 => (latency * 20, answer(200, "{\"code\":0,\"level\":3}".to_owned())),
            8 => (latency, answer(200, "<html>".to_owned())),
            _ => (latency, Err(Failure::Connect)),
        }
    }
}

/// A parameter of a query, whatever the case of its name.
fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    value.unwrap_or_default().to_owned()
}
