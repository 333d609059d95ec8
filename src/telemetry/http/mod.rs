//! The endpoints for the orchestrator and for Prometheus: `/livez`, `/readyz`, `/metrics`.
//!
//! Owns the listener. It only reads: no request changes anything or waits for the worker.
//! `connections` bounds what clients may do, `answer` what their requests cost.

mod answer;
mod connections;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::health::Health;
pub use answer::{Answer, Fresh, failed, on_a_thread, response, to_the_end};

/// The content type of `/metrics`.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long an answer of `/metrics` is reused: far shorter than any scrape interval, and long
/// enough that a client that asks in a loop costs little.
const METRICS_FRESH_FOR: Duration = Duration::from_millis(100);
/// How long requests under way may take to finish once the worker has ended.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// `[http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The address of the endpoints. Port 0 takes any free port; an empty address means that there
    /// are no endpoints. They need no password: keep the address private.
    pub listen: String,
    /// The token for the status page. Empty: only clients on this machine see the page, and only if
    /// `listen` is a loopback address.
    pub token: SecretString,
}

impl Default for Settings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".to_owned(), token: SecretString::default() }
    }
}

/// Why the endpoints could not be started.
#[derive(Debug, thiserror::Error)]
#[error("http.listen: cannot listen on {listen:?}: {source}")]
pub struct HttpError {
    listen: String,
    source: std::io::Error,
}

/// Running endpoints.
#[derive(Debug)]
pub struct Endpoints {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Serves the endpoints, and the routes that `more` makes for the address, on `listen` until
/// `shutdown` is ready. `None` where `listen` is empty.
///
/// # Errors
/// [`HttpError`] if the address cannot be bound. When this returns without an error, the address is
/// bound.
pub async fn serve(
    listen: &str,
    health: Health,
    prometheus: PrometheusHandle,
    more: impl FnOnce(SocketAddr) -> Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Option<Endpoints>, HttpError> {
    if listen.is_empty() {
        return Ok(None);
    }
    let failed = |source| HttpError { listen: listen.to_owned(), source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let fresh = Fresh::new(METRICS_FRESH_FOR);
    let routes = Router::new()
        .route("/livez", get(|State(health): State<Health>| async move { answer(health.live()) }))
        .route("/readyz", get(|State(health): State<Health>| async move { answer(health.ready()) }))
        .route("/metrics", get(move || metrics(fresh.clone(), prometheus.clone())))
        .with_state(health)
        .merge(more(address));
    let task = tokio::spawn(connections::serve(listener, routes, shutdown));
    Ok(Some(Endpoints { address, task }))
}

impl Endpoints {
    /// Their address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits, for a second at most, until requests under way are answered. Call it after `shutdown`
    /// is ready.
    pub async fn finished(mut self) {
        match tokio::time::timeout(SHUTDOWN_TIMEOUT, &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the HTTP endpoints failed: {error}"),
            Err(_elapsed) => self.task.abort(),
        }
    }
}

fn answer(health: Result<(), String>) -> impl IntoResponse {
    match health {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(fresh: Fresh, prometheus: PrometheusHandle) -> Response {
    let rendered = fresh.or(on_a_thread(move || Ok(prometheus.render().into())));
    response(rendered.await, PROMETHEUS_TEXT)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::telemetry::{Component, metrics};

    fn nothing(_: SocketAddr) -> Router {
        Router::new()
    }

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{address}{path}")).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    #[tokio::test]
    async fn the_endpoints_tell_health_and_metrics() {
        let recorder = metrics::builder().expect("valid buckets").build_recorder();
        ::metrics::with_local_recorder(&recorder, || {
            ::metrics::counter!(metrics::ADMITTED.name).increment(7)
        });
        let health = Health::new(Duration::from_millis(1));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { stopped.await.unwrap_or_default() };
        let served =
            serve("127.0.0.1:0", health.clone(), recorder.handle(), nothing, shutdown).await;
        let endpoints = served.expect("a free port").expect("an address was given");

        tokio::time::sleep(Duration::from_millis(5)).await;
        let (status, body) = get(endpoints.address(), "/livez").await;
        assert_eq!(status, 503);
        assert!(body.starts_with("the worker made no progress"), "{body}");

        let (status, body) = get(endpoints.address(), "/readyz").await;
        assert_eq!((status, body.as_str()), (503, "store is not ready: it has not answered yet\n"));
        Component::ALL.into_iter().for_each(|component| health.set_ready(component, Ok(())));
        assert_eq!(get(endpoints.address(), "/readyz").await, (200, "ok\n".to_owned()));

        let (status, body) = get(endpoints.address(), "/metrics").await;
        assert_eq!(status, 200);
        assert!(body.lines().any(|line| line == "claimgate_claims_admitted_total 7"), "{body}");
        assert_eq!(get(endpoints.address(), "/").await.0, 404);

        stop.send(()).expect("still served");
        let address = endpoints.address();
        endpoints.finished().await;
        assert!(reqwest::get(format!("http://{address}/livez")).await.is_err());
    }

    #[tokio::test]
    async fn metrics_are_not_rendered_anew_for_each_who_asks() {
        let recorder = metrics::builder().expect("valid buckets").build_recorder();
        let (health, handle) = (Health::new(Duration::from_secs(1)), recorder.handle());
        let served = serve("127.0.0.1:0", health, handle, nothing, std::future::pending()).await;
        let address = served.expect("a free port").expect("an address was given").address();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let scrape = async || {
            ::metrics::with_local_recorder(&recorder, || {
                ::metrics::counter!(metrics::ADMITTED.name).increment(1)
            });
            let answer = client.get(format!("http://{address}/metrics")).send().await;
            answer.expect("an answer").text().await.expect("a body")
        };
        // On a busy machine two scrapes may be further apart than the time for which an answer is
        // reused.
        for _ in 0..100 {
            if scrape().await == scrape().await {
                return;
            }
        }
        panic!("each scrape was rendered anew");
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_and_an_empty_one_is_no_error() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let listen = taken.local_addr().expect("bound").to_string();
        let prometheus = metrics::builder().expect("valid buckets").build_recorder().handle();
        let health = Health::new(Duration::from_secs(1));
        let error =
            serve(&listen, health.clone(), prometheus.clone(), nothing, std::future::pending())
                .await;
        let error = error.expect_err("in use").to_string();
        assert!(
            error.starts_with(&format!("http.listen: cannot listen on {listen:?}: ")),
            "{error}"
        );
        let none = serve("", health, prometheus, nothing, std::future::pending())
            .await
            .expect("nothing to bind");
        assert!(none.is_none());
    }
}
