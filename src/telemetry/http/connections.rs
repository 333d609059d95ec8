//! Connections to the endpoints: the bounds on their number, on their duration and on the length of
//! a request.
//!
//! Why not `axum::serve`: it bounds none of these, so a client that sends half a request would keep
//! its connection for ever. The invariants: a connection has one request and a few seconds; when
//! there are too many connections, the oldest is closed, so that the orchestrator always gets an
//! answer.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// The most connections at once. A further one closes the oldest.
const CONNECTIONS: usize = 128;
/// The longest time of a connection. The slowest answer, a claim's story, takes up to six seconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest request in bytes, without its body: no body is read.
const MAX_REQUEST_BYTES: usize = 16 << 10;

/// Answers requests until `shutdown` is ready, then those that have begun already.
pub(super) async fn serve(
    mut listener: TcpListener,
    routes: Router,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(routes);
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(MAX_REQUEST_BYTES);
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            (stream, _) = Listener::accept(&mut listener) => stream,
        };
        while connections.try_join_next().is_some() {}
        by_age.retain(|connection| !connection.is_finished());
        if by_age.len() >= CONNECTIONS
            && let Some(oldest) = by_age.pop_front()
        {
            oldest.abort();
        }
        let served = http.serve_connection(TokioIo::new(stream), service.clone());
        // An error of a connection concerns its client only.
        let served = async move { drop(timeout(TIMEOUT, served).await) };
        by_age.push_back(connections.spawn(served));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn served() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().route("/livez", get(|| async { "ok" }));
        tokio::spawn(serve(listener, routes, std::future::pending()));
        address
    }

    async fn sent(address: SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream
    }

    /// What this connection is answered until it is closed.
    async fn answer(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        let closed = timeout(LONG, stream.read_to_end(&mut answer)).await;
        closed.expect("the connection is closed").expect("it can be read");
        String::from_utf8(answer).expect("text")
    }

    #[tokio::test]
    async fn half_requests_block_no_other_client() {
        let address = served().await;
        let mut held = VecDeque::new();
        for _ in 0..CONNECTIONS + 20 {
            held.push_back(sent(address, "GET /livez HTTP/1.1\r\nx: ").await);
        }
        let whole = sent(address, "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer(whole).await.starts_with("HTTP/1.1 200 OK"));
        let oldest = answer(held.pop_front().expect("the oldest"));
        let oldest = timeout(TIMEOUT / 2, oldest).await;
        assert_eq!(oldest.expect("it made room before its time was over"), "");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_is_not_waited_for_for_ever() {
        let half = sent(served().await, "GET /livez HTTP/1.1\r\nx: ").await;
        assert_eq!(answer(half).await, "");
    }

    #[tokio::test]
    async fn a_request_that_is_too_long_is_refused() {
        let mut long = "GET /livez HTTP/1.1\r\nx: ".to_owned();
        long.extend(std::iter::repeat_n('a', MAX_REQUEST_BYTES - long.len()));
        let long = sent(served().await, &long).await;
        assert!(answer(long).await.starts_with("HTTP/1.1 431 "));
    }
}
