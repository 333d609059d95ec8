//! Sends the requests to workers: the only file here that knows a socket.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Client, StatusCode};
use tokio::time::Instant;

use super::samples::Samples;
use crate::assess::reach::words;

/// How long a worker has to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A longer answer is not that of a worker.
const MAX_BYTES: usize = 16 << 20;

/// What one worker answered.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its address.
    pub(super) url: String,
    /// When its answer was complete.
    pub(super) at: Instant,
    /// Whether it is alive and ready, or one sentence that says why not.
    pub(super) ready: Result<(), String>,
    /// Its metrics, or one sentence that says why there are none.
    pub(super) metrics: Result<Samples, String>,
}

/// The HTTP client.
pub(super) struct Asker(Client);

impl Asker {
    /// Uses no proxy: the proxies of the environment are not for a worker's private address.
    pub(super) fn new() -> Result<Self, String> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build();
        client
            .map(Self)
            .map_err(|error| format!("the HTTP client cannot be created: {}", words(error)))
    }

    /// Asks all of them at the same time.
    pub(super) async fn ask_all(&self, urls: &[String]) -> Vec<Asked> {
        join_all(urls.iter().map(|url| self.ask(url))).await
    }

    async fn ask(&self, url: &str) -> Asked {
        let get = |path| self.get(url, path);
        let (live, ready, metrics) = tokio::join!(get("/livez"), get("/readyz"), get("/metrics"));
        let at = Instant::now();
        let is_well = |(status, said): (StatusCode, String)| match status {
            StatusCode::OK => Ok(()),
            _ => Err(said.trim().to_owned()),
        };
        // A loop that hangs cannot report that it is not ready.
        let ready = live.and_then(is_well).and_then(|()| ready.and_then(is_well));
        let metrics = metrics.and_then(|(status, text)| match status {
            StatusCode::OK => Samples::parse(&text).map_err(|error| format!("/metrics: {error}")),
            other => Err(format!("/metrics answers HTTP {}", other.as_u16())),
        });
        Asked { url: url.to_owned(), at, ready, metrics }
    }

    async fn get(&self, url: &str, path: &str) -> Result<(StatusCode, String), String> {
        let answer = self.0.get(format!("{url}{path}")).send().await;
        let mut answer = answer.map_err(words)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(words)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("{path} answers more than {MAX_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status(), String::from_utf8_lossy(&body).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_worker_whose_loop_stands_still_is_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let silent = || async { (axum::http::StatusCode::SERVICE_UNAVAILABLE, "no progress\n") };
        let routes = Router::new()
            .route("/livez", get(silent))
            .route("/readyz", get(|| async { "ok\n" }))
            .route("/metrics", get(|| async { "a 1\n" }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let asked = Asker::new().expect("a client").ask(&url).await;
        assert_eq!(asked.ready, Err("no progress".to_owned()));
        assert!(asked.metrics.is_ok());
    }
}
