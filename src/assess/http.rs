//! HTTP: sends a request to a risk API and returns its answer, within bounds of time and size.
//!
//! It retries nothing, and does not decide what a failure means.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Version;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

use super::connect::{self, ClientError};
use super::egress;
use super::exchange::{Exchange, Failure, Http, Response};
use crate::risk::{Method, Request, one_line};

/// The largest body that is read. What is beyond is cut off; what is left of a good answer is then
/// kept and not read, because it may look like a whole one.
pub const BODY_MAX_BYTES: usize = 1 << 20;

/// The longest cause, in characters.
const CAUSE_MAX: usize = 300;

/// One connection pool for all APIs.
#[derive(Debug, Clone)]
pub struct Client {
    clients: Arc<[reqwest::Client]>,
    /// The proxy, if there is one, and the hosts that are called without it.
    pub(super) egress: egress::Settings,
}

impl Client {
    /// As [`Client::for_calls`], where no call is very short.
    ///
    /// # Errors
    /// As there.
    pub fn new(egress: &egress::Settings) -> Result<Self, ClientError> {
        Self::for_calls(egress, Duration::from_secs(2))
    }

    /// A client that verifies certificates and follows no redirects. `shortest` is the shortest
    /// timeout of a call: connecting may take half of it, so that a failure to connect is
    /// recognised as one; then the API has not seen the call. The proxy is that of `egress`; the
    /// environment's proxy settings do not count.
    ///
    /// # Errors
    /// The certificates of `egress` cannot be read, the TLS library could not be set up, or the
    /// proxy's address is invalid.
    pub fn for_calls(egress: &egress::Settings, shortest: Duration) -> Result<Self, ClientError> {
        let clients = connect::clients(egress, shortest)?.into();
        Ok(Self { clients, egress: egress.clone() })
    }

    /// One of the clients, by chance: were it in turn, the calls to one of two servers could all go
    /// to one client.
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.clients[fastrand::usize(..self.clients.len())]
    }

    /// The answer, what is unusual about it, and how its body ended.
    async fn exchange(
        &self,
        request: Request,
        timeout: Duration,
    ) -> reqwest::Result<(Response, Option<String>, reqwest::Result<End>)> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        // The raw answer is evidence, so it has to come uncompressed.
        let builder =
            self.client().request(method, request.url).header(ACCEPT_ENCODING, "identity");
        let mut builder = builder.timeout(timeout);
        if let Some((content_type, body)) = request.body {
            builder = builder.header(CONTENT_TYPE, content_type).body(body);
        }
        let mut response = builder.send().await?;
        let status = response.status().as_u16();
        let version = version(response.version());
        let retry_after = retry_after(response.headers());
        let oddity = oddity(status, response.headers());
        let mut body = Vec::new();
        let end = read_body(&mut response, &mut body).await;
        Ok((Response { status, version, retry_after, body }, oddity, end))
    }
}

/// As in spans: the number alone.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// Where the reading of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// At the body's own end.
    Whole,
    /// At [`BODY_MAX_BYTES`]: there is more.
    AtBound,
}

async fn read_body(response: &mut reqwest::Response, body: &mut Vec<u8>) -> reqwest::Result<End> {
    while let Some(chunk) = response.chunk().await? {
        let room = BODY_MAX_BYTES - body.len();
        body.extend_from_slice(&chunk[..room.min(chunk.len())]);
        if chunk.len() > room {
            return Ok(End::AtBound);
        }
    }
    Ok(End::Whole)
}

impl Http for Client {
    async fn send(&self, request: Request, timeout: Duration) -> Exchange {
        let sent = Instant::now();
        let arrived = self.exchange(request, timeout).await;
        let latency = sent.elapsed();
        let (error, cut) = match arrived {
            // Of an answer that is not good the status says enough.
            Ok((response, _, Ok(End::AtBound))) if (200..300).contains(&response.status) => {
                let cause = Some(format!("the answer is larger than {BODY_MAX_BYTES} bytes"));
                let result = Err(Failure::TooLarge);
                return Exchange { latency, result, cut: Some(response), cause };
            }
            Ok((response, cause, Ok(_))) => {
                return Exchange { latency, result: Ok(response), cut: None, cause };
            }
            Ok((response, _, Err(error))) => (error, Some(response)),
            Err(error) => (error, None),
        };
        Exchange { latency, result: Err(classify(&error)), cut, cause: Some(cause(error)) }
    }
}

fn classify(error: &reqwest::Error) -> Failure {
    if error.is_connect() || is_unsent(error) {
        Failure::Connect
    } else if error.is_timeout() {
        Failure::Timeout
    } else if is_refused(error) {
        Failure::Refused
    } else {
        Failure::Broken
    }
}

/// Whether the connection ended before the call was written to it: hyper gives this error to such
/// calls alone. (If the connection had served a call before, the client opens another itself.)
fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    let mut of_hyper = causes(error).filter_map(|error| error.downcast_ref::<hyper::Error>());
    of_hyper.any(hyper::Error::is_canceled)
}

/// The error and its causes.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// Whether an HTTP/2 server did not look at the call (RFC 9113, section 8.7): it refused the call's
/// stream, or the stream came after the last one that it takes. h2 gives both errors to such calls
/// alone; a call that the server had begun with gets another one when the connection is closed.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    causes(error).filter_map(|error| error.downcast_ref::<h2::Error>()).any(|error| {
        let is_refusal = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || is_refusal)
    })
}

/// The error and its causes, in their own words, without the URL, which has accounts and
/// signatures.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    for error in causes(&error).skip(1) {
        let text = error.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
    }
    one_line(&words, CAUSE_MAX)
}

/// Why a whole answer cannot be read: it is a redirect, or it is compressed although the request
/// did not allow that.
fn oddity(status: u16, headers: &HeaderMap) -> Option<String> {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if (300..400).contains(&status) {
        // The rest of the address may carry a token.
        let to = header(LOCATION).and_then(|to| reqwest::Url::parse(to).ok());
        let host = to.as_ref().and_then(|to| to.host_str());
        let words = format!("HTTP {status}, a redirect to {}", host.unwrap_or("another path"));
        return Some(one_line(&words, CAUSE_MAX));
    }
    let encoding =
        header(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))?;
    let words = format!("the answer is encoded as {encoding}, which was not asked for");
    Some(one_line(&words, CAUSE_MAX))
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3). A date is compared with the
/// answer's own `Date`, because the server's clock may differ from this host's.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large counts as for ever.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = |text: &str| OffsetDateTime::parse(text.trim(), &Rfc2822).ok();
    let answered = headers.get(DATE).and_then(|at| date(at.to_str().ok()?));
    let pause = date(value)? - answered.unwrap_or_else(OffsetDateTime::now_utc);
    Duration::try_from(pause).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::SocketAddr;

    use axum::body::Bytes;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;

    use super::*;

    /// What the client makes of a server that answers one request with these bytes; and the
    /// request.
    async fn exchange(scheme: &str, answer: &'static str) -> (Exchange, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url =
            format!("{scheme}://{}/?Signature=secret", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let (mut head, mut length) = ([0; 4096], 0);
            while !head[..length].ends_with(b"\r\n\r\n") {
                match stream.read(&mut head[length..]).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => length += read,
                }
                if head[0] != b'G' {
                    break;
                }
            }
            drop(stream.write_all(answer.as_bytes()).await);
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let request = Request { method: Method::Get, url, body: None, redacted: String::new() };
        let exchange = Client::new(&egress::Settings::default())
            .expect("a client")
            .send(request, Duration::from_secs(5))
            .await;
        (exchange, server.await.expect("the server does not panic"))
    }

    #[tokio::test]
    async fn answers_are_requested_unencoded() {
        let packed =
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x08";
        let (exchange, head) = exchange("http", packed).await;
        assert!(head.to_ascii_lowercase().contains("\r\naccept-encoding: identity\r\n"), "{head}");
        assert_eq!(
            exchange.cause.as_deref(),
            Some("the answer is encoded as gzip, which was not asked for")
        );
    }

    /// An address where no connection is made: the listener accepts none, and once its queue is full
    /// the system answers no more. It stays so while what is returned beside the address lives.
    pub(crate) fn full_queue() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("an address");
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300));
        let queue: Vec<_> = std::iter::repeat_with(connect).map_while(Result::ok).collect();
        (address, (listener, queue))
    }

    #[tokio::test]
    async fn a_call_without_a_connection_was_not_seen() {
        let (address, _full) = full_queue();
        let url = format!("http://{address}/");
        let request = Request { method: Method::Get, url, body: None, redacted: String::new() };
        let call = Duration::from_millis(600);
        let client = Client::for_calls(&egress::Settings::default(), call).expect("a client");
        let exchange = client.send(request, call).await;
        assert_eq!(exchange.result, Err(Failure::Connect), "{:?}", exchange.cause);
    }

    #[tokio::test]
    async fn what_came_of_an_answer_that_broke_off_is_kept() {
        let head = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 99\r\n\r\n{\"code\":0";
        let (cut, _) = exchange("http", head).await;
        assert_eq!(cut.result, Err(Failure::Broken), "nobody may take it for an answer");
        let retry_after = Some(Duration::from_secs(7));
        let body = b"{\"code\":0".to_vec();
        let kept = Response { status: 503, version: "1.1", retry_after, body };
        assert_eq!(cut.arrived(), Some(&kept));
        assert_eq!(cut.into_body(), Some(kept.body));
        let (none, _) = exchange("http", "").await;
        assert_eq!((none.result, none.cut), (Err(Failure::Broken), None));
    }

    #[tokio::test]
    async fn what_is_left_of_an_answer_that_is_too_large_is_kept_and_not_read() {
        let answer = |status: &str, length: usize| -> &'static str {
            let body = format!("{{\"code\":0}}{}", " ".repeat(length - 10));
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").leak()
        };
        let (whole, _) = exchange("http", answer("200 OK", BODY_MAX_BYTES)).await;
        assert_eq!(whole.result.map(|response| response.body.len()), Ok(BODY_MAX_BYTES));
        let (cut, _) = exchange("http", answer("200 OK", BODY_MAX_BYTES + 1)).await;
        assert_eq!(cut.result, Err(Failure::TooLarge), "it reads as whole JSON");
        assert_eq!(cut.cause.as_deref(), Some("the answer is larger than 1048576 bytes"));
        assert_eq!(cut.into_body().map(|body| body.len()), Some(BODY_MAX_BYTES));
        let (page, _) = exchange("http", answer("403 Forbidden", BODY_MAX_BYTES + 1)).await;
        assert_eq!(page.result.map(|response| response.status), Ok(403));
    }

    /// What a call becomes that an HTTP/2 server ends like this.
    async fn ended(
        end: impl FnOnce(&mut h2::server::Connection<TcpStream, Bytes>, Reply),
    ) -> Failure {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
        let client = client.retry(reqwest::retry::never()).build().expect("a client");
        let call = client.get(url).send();
        let serve = async {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            let (_, reply) = connection.accept().await.expect("a call").expect("a request");
            end(&mut connection, reply);
            while connection.accept().await.is_some() {}
        };
        let (answer, ()) = tokio::join!(call, async { drop(timeout(SERVED, serve).await) });
        classify(&answer.expect_err("no answer"))
    }

    type Reply = h2::server::SendResponse<Bytes>;
    const SERVED: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn only_a_call_that_the_server_refused_was_not_seen() {
        let reset = |reason| ended(move |_, mut reply| reply.send_reset(reason));
        assert_eq!(reset(h2::Reason::REFUSED_STREAM).await, Failure::Refused);
        assert_eq!(reset(h2::Reason::INTERNAL_ERROR).await, Failure::Broken);
        let begun = ended(|connection, reply| {
            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
            std::mem::forget(reply);
        });
        assert_eq!(begun.await, Failure::Broken, "the server had begun with it");
        assert!(!Failure::Refused.is_ambiguous() && Failure::Broken.is_ambiguous());
    }

    #[tokio::test]
    async fn a_call_whose_connection_ended_before_it_was_written_was_not_seen() {
        let (client, _server) = tokio::io::duplex(64);
        let connection = hyper::client::conn::http1::handshake(TokioIo::new(client)).await;
        let (mut sender, ended) = connection.expect("nothing is written yet");
        drop(ended);
        let error = sender.send_request(hyper::Request::new(String::new())).await;
        assert!(is_unsent(&error.expect_err("no connection")));
        let (broken, _) = exchange("http", "").await;
        assert_eq!(broken.result, Err(Failure::Broken), "it was written");
    }

    #[test]
    fn a_pause_is_read_from_any_number_of_digits_or_a_date() {
        let read = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            retry_after(&headers).map(|pause| pause.as_secs())
        };
        let numbers = ["0", " 17 ", "4294967296", "99999999999999999999999"].map(read);
        assert_eq!(numbers, [Some(0), Some(17), Some(1 << 32), Some(u64::MAX)]);
        let far = read("Tue, 31 Dec 2999 23:59:59 GMT").expect("a date");
        assert!(far > 86_400 * 365 * 100, "{far}");
        assert_eq!(["Sun, 06 Nov 1994 08:49:37 GMT", "", "-1", "1.5", "soon"].map(read), [None; 5]);
    }

    #[test]
    fn a_date_is_read_by_the_servers_own_clock() {
        let until = (RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        let answered = |at| {
            let headers =
                HeaderMap::from_iter([until.clone(), (DATE, HeaderValue::from_static(at))]);
            retry_after(&headers)
        };
        let pause = Duration::from_secs(30);
        assert_eq!(answered("Sun, 06 Nov 1994 08:49:07 GMT"), Some(pause));
        assert_eq!([answered("Sun, 06 Nov 1994 08:50:07 GMT"), answered("now")], [None; 2]);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_its_target_is_reported() {
        let redirect = "HTTP/1.1 302 Found\r\nLocation: https://login.example.com/?token=secret\r\n\
            Content-Length: 0\r\n\r\n";
        let (exchange, _) = exchange("http", redirect).await;
        assert_eq!(exchange.result.map(|response| response.status), Ok(302));
        assert_eq!(exchange.cause.as_deref(), Some("HTTP 302, a redirect to login.example.com"));
    }

    #[tokio::test]
    async fn a_failure_has_its_cause_and_no_secret() {
        let (plain, _) = exchange("https", "HTTP/1.1 400 Bad Request\r\n\r\n").await;
        assert_eq!(plain.result, Err(Failure::Connect));
        let cause = plain.cause.expect("a cause");
        assert!(cause.contains("wrong version number"), "TLS to a server without: {cause}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url =
            format!("http://{}/?Signature=secret", listener.local_addr().expect("an address"));
        drop(listener);
        let request = Request { method: Method::Get, url, body: None, redacted: String::new() };
        let refused = Client::new(&egress::Settings::default())
            .expect("a client")
            .send(request, Duration::from_secs(5))
            .await;
        let refusal = refused.cause.expect("a cause");
        assert!(refusal.contains("onnection refused"), "{refusal}");
        let (cut, _) = exchange("http", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{").await;
        assert_eq!(cut.result, Err(Failure::Broken));
        let broken = cut.cause.expect("a cause");
        assert!(broken.contains("end of file"), "{broken}");
        for cause in [cause, refusal, broken] {
            assert!(cause.len() <= CAUSE_MAX && !cause.contains("secret"), "{cause}");
        }
    }
}
