//! HTTP: routes requests by path, and sends the decided answer, or none.

use std::io;
use std::sync::Arc;

use axum::body::{self, Body};
use axum::extract::Request;
use axum::extract::connect_info::ConnectInfo;
use axum::handler::HandlerWithoutStateExt;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;

use super::door::Door;
use super::plan::Refusal;
use super::reply::{Reply, Sending};
use super::respond::respond;
use super::state::State;
use super::visit::Exchange;
use super::wire::Cut;
use super::{control, tencent_cloud, wechat};

/// The largest body of a request.
const MOST_BODY: usize = 1 << 20;

/// Serves until `state.stopping` is cancelled; calls in flight end first, those that hang are cut.
pub(super) async fn serve(door: Door, state: Arc<State>) -> io::Result<()> {
    let stopping = state.stopping.clone();
    let handler = move |ConnectInfo(cut): ConnectInfo<Cut>, request: Request| {
        let state = Arc::clone(&state);
        async move { answer(&state, &cut, request).await }
    };
    let service = handler.into_make_service_with_connect_info::<Cut>();
    axum::serve(door, service).with_graceful_shutdown(stopping.cancelled_owned()).await
}

async fn answer(state: &Arc<State>, cut: &Cut, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = if parts.method == Method::GET {
        body::Bytes::new()
    } else {
        match body::to_bytes(body, MOST_BODY).await {
            Ok(body) => body,
            Err(_) => return respond(Reply::text(413, "more than 1 MiB\n")),
        }
    };
    let method = parts.method.as_str();
    let (caller, path) = caller_and_path(parts.uri.path());
    let query = parts.uri.query().unwrap_or_default();
    if !path.starts_with("/control/") {
        state.requests.remember(method, path, query, &body);
    }
    let exchange = match path {
        "/v2/index.php" => match parts.method {
            Method::GET => tencent_cloud::exchange(state, caller, method, Ok(query)),
            Method::POST => {
                let content_type =
                    parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                tencent_cloud::exchange(state, caller, method, form_body(content_type, &body))
            }
            _ => Reply::text(405, "GET or POST\n").into(),
        },
        "/wxa/servicemarket" | "/tcb/servicemarket" => {
            wechat::exchange(state, caller, method, query, &body)
        }
        "/cgi-bin/token" => wechat::classic(state, caller, query),
        "/cgi-bin/stable_token" if state.options.has_stable_token => {
            wechat::stable(state, caller, method, &body)
        }
        _ => match path.strip_prefix("/control/") {
            Some("calls") if parts.method == Method::GET => return control::calls(state, query),
            Some(path) => control::exchange(state, method, path, query, &body).into(),
            None => Reply::text(404, "the simulator of the risk APIs has nothing here\n").into(),
        },
    };
    send(state, cut, exchange).await
}

/// A path may begin with `/caller/NAME`: the log then shows which client made the call, by its
/// `base_url`.
fn caller_and_path(path: &str) -> (&str, &str) {
    let named =
        path.strip_prefix("/caller/").and_then(|rest| rest.find('/').map(|end| rest.split_at(end)));
    named.unwrap_or(("", path))
}

fn form_body<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<&'a str, Refusal> {
    if !content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
        return Err(Refusal::new(4000, "(100004)a POST is application/x-www-form-urlencoded"));
    }
    std::str::from_utf8(body).map_err(|_| Refusal::new(4000, "(100004)the body is not UTF-8"))
}

/// Waits for as long as the answer is to take, and sends it. The call is in flight until then.
async fn send(state: &State, cut: &Cut, exchange: Exchange) -> Response {
    let Exchange { sending, delay, visit } = exchange;
    if !delay.is_zero() {
        let slept = state.stopping.run_until_cancelled(tokio::time::sleep(delay)).await;
        if slept.is_none() {
            cut.now();
        }
    }
    let response = match sending {
        Sending::Reply(reply) => respond(reply),
        Sending::Reset => {
            cut.now();
            Response::new(Body::empty())
        }
        Sending::Hang => {
            state.stopping.cancelled().await;
            cut.now();
            Response::new(Body::empty())
        }
    };
    drop(visit);
    response
}
