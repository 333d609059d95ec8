//! `/control/…`: the endpoints that tests and people use to control the simulator. They need no
//! authentication: run the simulator on a loopback address or a closed network.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures::stream;
use serde::Serialize;
use tokio::time::Instant;

use super::api::Api;
use super::call::Totals;
use super::faults::Faults;
use super::form::Form;
use super::reply::Reply;
use super::respond::respond;
use super::state::State;

const JSON: &str = "application/json; charset=utf-8";
/// How many calls are read from the log at a time.
const CHUNK: usize = 4096;

#[derive(Serialize)]
struct Stats {
    calls: u64,
    forgotten: u64,
    apis: BTreeMap<Api, Totals>,
}

#[derive(Serialize)]
struct Account<'a> {
    api: Api,
    account: &'a str,
    calls: u64,
}

/// Everything but [`calls`].
pub(super) fn exchange(state: &State, method: &str, path: &str, query: &str, body: &[u8]) -> Reply {
    match (method, path) {
        ("GET", "faults") => json(&*state.faults()),
        ("PUT", "faults") => put_faults(state, body),
        ("GET", "stats") => json(&Stats {
            calls: state.calls.len(),
            forgotten: state.calls.forgotten(),
            apis: state.calls.totals(),
        }),
        ("GET", "accounts") => accounts(state),
        ("GET", "requests") => requests(state),
        ("POST", "tokens/expire") => {
            // `?as=invalid`: as if another client had fetched newer ones.
            if query == "as=invalid" {
                state.tokens().forget()
            } else {
                state.tokens().expire(Instant::now())
            }
            Reply::text(200, "ok\n")
        }
        ("POST", "reset") => {
            state.reset();
            Reply::text(200, "ok\n")
        }
        (_, "faults" | "stats" | "accounts" | "calls" | "requests" | "tokens/expire" | "reset") => {
            Reply::text(405, "not with this method\n")
        }
        _ => Reply::text(404, "faults, calls, requests, accounts, stats, tokens/expire, reset\n"),
    }
}

fn put_faults(state: &State, body: &[u8]) -> Reply {
    let faults: Faults = match serde_json::from_slice(body) {
        Ok(faults) => faults,
        Err(error) => return Reply::text(400, format!("{error}\n")),
    };
    match state.set_faults(faults) {
        Ok(()) => json(&*state.faults()),
        Err(error) => Reply::text(400, format!("{error}\n")),
    }
}

fn accounts(state: &State) -> Reply {
    let mut lines = String::new();
    for ((api, account), calls) in state.calls.counts() {
        push_line(&mut lines, &Account { api, account: &account, calls });
    }
    Reply::new(200, "application/x-ndjson", lines)
}

fn requests(state: &State) -> Reply {
    let mut lines = String::new();
    state.requests.all().iter().for_each(|request| push_line(&mut lines, request));
    Reply::new(200, "application/x-ndjson", lines)
}

fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(text) => Reply::new(200, JSON, text),
        Err(error) => Reply::text(500, format!("{error}\n")),
    }
}

fn push_line(lines: &mut String, value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        lines.push_str(&line);
        lines.push('\n');
    }
}

/// `GET /control/calls?after=…&api=…&account=…`: the log as JSON lines, streamed a chunk at a time.
/// It ends with what was the last call when it began.
pub(super) fn calls(state: &Arc<State>, query: &str) -> Response {
    let form = match Form::read(query) {
        Ok(form) => form,
        Err(problem) => return respond(Reply::text(400, format!("{problem}\n"))),
    };
    let after = form.get("after").unwrap_or("0").parse::<u64>();
    let api = form.get("api").map(|name| Api::from_name(name).ok_or(name));
    let (after, api) = match (after, api.transpose()) {
        (Ok(after), Ok(api)) => (after, api),
        (Err(_), _) => {
            return respond(Reply::text(400, "after is the sequence of a call\n"));
        }
        (_, Err(name)) => {
            return respond(Reply::text(400, format!("no API is called {name}\n")));
        }
    };
    let (state, account, last) =
        (Arc::clone(state), form.get("account").map(str::to_owned), state.calls.len());
    let chunks =
        stream::iter(std::iter::successors(Some((after, String::new())), move |(after, _)| {
            let calls = state.calls.after(*after, CHUNK);
            let next = calls.last()?.sequence;
            let mut lines = String::new();
            let wanted = calls
                .iter()
                .filter(|call| call.sequence <= last && api.is_none_or(|api| call.api == api));
            for call in wanted
                .filter(|call| account.as_deref().is_none_or(|account| *call.account == *account))
            {
                push_line(&mut lines, call);
            }
            (*after < last).then_some((next, lines))
        }));
    let lines =
        futures::StreamExt::map(chunks, |(_, lines)| Ok::<_, std::convert::Infallible>(lines));
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}
