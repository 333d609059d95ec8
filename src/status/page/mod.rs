//! The status page: what `claimgate status` says, the last decisions and a claim's story, in a
//! browser, at `/` of the worker's own endpoints.
//!
//! One static file asks for JSON and draws it. `access` says who may see it, `document` has the file
//! and its headers, `figures` what the worker says of itself, `records` what the database says,
//! `fresh` lets many who look share one answer. The invariants: nothing is looked up while nobody
//! looks; only masked views are read, and nothing is changed; who looks holds up no claim.

mod access;
mod document;
mod figures;
mod fresh;
mod records;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
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
use access::{Access, Refusal};
use figures::Figures;
use fresh::{Answer, Fresh};
use records::Records;

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
    /// The routes of the page, for a listener at `address`. `token` is `http.token`, empty where
    /// there is none.
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
            status: Fresh::default(),
            decisions: Fresh::default(),
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
    let made = page.status.or(async move {
        let report = tokio::task::spawn_blocking(move || json(&look.figures.report()));
        report.await.unwrap_or_else(|error| Err(failed(error)))
    });
    answered(made.await)
}

async fn decisions(State(page): Page) -> Response {
    let made = page.decisions.or(async {
        let last = page.records.last_decisions().await;
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
    answered(match page.records.story(claim_id).await {
        Ok(Some(story)) => json(&story),
        Ok(None) => Err((
            StatusCode::NOT_FOUND,
            "nothing of this claim is in the record: ids are compared byte by byte, and a claim \
             that was not asked about yet is not there\n"
                .to_owned(),
        )),
        Err(error) => Err(unanswered(error)),
    })
}

fn json(value: &impl Serialize) -> Answer {
    serde_json::to_vec(value).map(Into::into).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

fn unanswered(error: StoreError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("the record does not answer: {error}\n"))
}

fn answered(answer: Answer) -> Response {
    match answer {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(told) => told.into_response(),
    }
}
