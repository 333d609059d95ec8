//! The status page: what `claimgate status` says, the last decisions and a claim's story, in a
//! browser, at `/` of the worker's own endpoints.
//!
//! One static file asks for JSON and draws it. `access` says who may see it, `document` has the
//! file and its headers, `figures` the worker's own figures, `records` the rows of the database.
//! The invariants: nothing is looked up while nobody has the page open; only masked views are read,
//! and nothing is changed; viewers delay no claim.

mod access;
mod document;
mod figures;
mod records;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use serde::Serialize;

use crate::claim::CLAIM_ID_MAX_CHARS;
use crate::live::Live;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::telemetry::Health;
use crate::telemetry::http::{Answer, Fresh, failed, on_a_thread, response, to_the_end};
use access::{Access, Refusal};
use figures::Figures;
use records::Records;

/// How long all viewers get the same answer.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// The status page of a worker.
pub struct StatusPage {
    token: Live<SecretString>,
    is_loopback: bool,
    figures: Figures,
    records: Records,
    status: Fresh,
    decisions: Fresh,
}

impl StatusPage {
    /// The routes of the page, for a listener at `address`. `token` is `http.token`, empty if there
    /// is none.
    pub fn routes(
        address: SocketAddr,
        token: Live<SecretString>,
        health: Health,
        prometheus: PrometheusHandle,
        store: &PostgresStore,
    ) -> Router {
        let page = Arc::new(Self {
            token,
            is_loopback: address.ip().is_loopback(),
            figures: Figures::new(health, prometheus),
            records: Records::new(store),
            status: Fresh::new(FRESH_FOR),
            decisions: Fresh::new(FRESH_FOR),
        });
        Router::new()
            .route("/status.json", get(status))
            .route("/decisions.json", get(decisions))
            .route("/claims/{file}", get(claim))
            .route_layer(middleware::from_fn_with_state(Arc::clone(&page), guard))
            .route("/", get(document))
            .layer(middleware::map_response(with_headers))
            .with_state(page)
    }

    fn check(&self, rule: impl FnOnce(&Access<'_>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let token = self.token.now();
        rule(&Access { is_loopback: self.is_loopback, token: &token })
    }
}

type Page = State<Arc<StatusPage>>;

async fn guard(State(page): Page, request: Request, next: Next) -> Result<Response, Refusal> {
    page.check(|access| access.to_answers(request.headers()))?;
    Ok(next.run(request).await)
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in document::headers() {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn document(State(page): Page, headers: HeaderMap) -> Result<Html<&'static str>, Refusal> {
    page.check(|access| access.to_page(&headers))?;
    Ok(Html(document::DOCUMENT.as_str()))
}

async fn status(State(page): Page) -> Response {
    let look = Arc::clone(&page);
    answered(page.status.or(on_a_thread(move || json(&look.figures.report()))).await)
}

async fn decisions(State(page): Page) -> Response {
    let look = Arc::clone(&page);
    let made = page.decisions.or(async move {
        let last = look.records.last_decisions().await;
        last.map_err(unanswered).and_then(|decisions| json(&decisions))
    });
    answered(made.await)
}

async fn claim(State(page): Page, Path(file): Path<String>) -> Response {
    let Some(claim_id) = file.strip_suffix(".json") else {
        return (StatusCode::NOT_FOUND, "a claim's story is at /claims/<claim_id>.json\n")
            .into_response();
    };
    if claim_id.chars().count() > CLAIM_ID_MAX_CHARS {
        let sentence = format!("a claim_id has {CLAIM_ID_MAX_CHARS} characters at most\n");
        return (StatusCode::BAD_REQUEST, sentence).into_response();
    }
    let claim_id = claim_id.to_owned();
    answered(to_the_end(async move { story(&page.records, &claim_id).await }).await)
}

async fn story(records: &Records, claim_id: &str) -> Answer {
    match records.story(claim_id).await {
        Ok(Some(story)) => json(&story),
        Ok(None) => Err((
            StatusCode::NOT_FOUND,
            "nothing about this claim is recorded: ids are compared byte by byte, and a claim \
             without a call is not there yet\n"
                .to_owned(),
        )),
        Err(error) => Err(unanswered(error)),
    }
}

fn json(value: &impl Serialize) -> Answer {
    serde_json::to_vec(value).map(Into::into).map_err(failed)
}

fn unanswered(error: StoreError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("the database does not answer: {error}\n"))
}

fn answered(answer: Answer) -> Response {
    response(answer, "application/json")
}
