//! `/cgi-bin/token` and `/cgi-bin/stable_token`.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::time::Instant;

use super::super::api::Api;
use super::super::form::Form;
use super::super::json::Object;
use super::super::plan::{Course, Refusal};
use super::super::reply::Reply;
use super::super::state::State;
use super::super::visit::{Asked, Exchange};
use super::answer;

const JSON: &str = "application/json; charset=utf-8";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Credentials {
    grant_type: String,
    appid: String,
    secret: String,
    force_refresh: bool,
}

/// `GET /cgi-bin/token`: every fetch makes a new token, which ends the one before it after its
/// grace.
pub(in super::super) fn classic(state: &Arc<State>, caller: &str, query: &str) -> Exchange {
    let form = Form::read(query).unwrap_or_default();
    let given = |name| form.get(name).unwrap_or_default().to_owned();
    let credentials = Credentials {
        grant_type: given("grant_type"),
        appid: given("appid"),
        secret: given("secret"),
        force_refresh: false,
    };
    exchange(state, caller, Ok(credentials), |state| {
        let options = &state.options;
        let token =
            state.tokens().classic.issue(options.token_life, options.token_grace, Instant::now());
        (token, options.token_life)
    })
}

/// `POST /cgi-bin/stable_token`: the same token for every caller until it is about to expire or is
/// refreshed by force, which ends the one before it at once.
pub(in super::super) fn stable(
    state: &Arc<State>,
    caller: &str,
    method: &str,
    body: &[u8],
) -> Exchange {
    let credentials = match (method, body) {
        ("POST", []) => Err(Refusal::new(44002, "empty post data")),
        ("POST", body) => {
            serde_json::from_slice(body).map_err(|_| Refusal::new(47001, "data format error"))
        }
        _ => Err(Refusal::new(43002, "require POST method")),
    };
    let force =
        credentials.as_ref().is_ok_and(|credentials: &Credentials| credentials.force_refresh);
    exchange(state, caller, credentials, |state| {
        let (options, now) = (&state.options, Instant::now());
        let mut tokens = state.tokens();
        let margin = options.token_grace.min(options.token_life / 2);
        match tokens.stable.current(margin, now) {
            Some((token, rest)) if !force => (token.to_owned(), rest),
            _ => {
                let grace = if force { Duration::ZERO } else { options.token_grace };
                (tokens.stable.issue(options.token_life, grace, now), options.token_life)
            }
        }
    })
}

fn exchange(
    state: &Arc<State>,
    caller: &str,
    credentials: Result<Credentials, Refusal>,
    fetch: impl FnOnce(&State) -> (String, Duration),
) -> Exchange {
    let account =
        credentials.as_ref().map(|credentials| credentials.appid.clone()).unwrap_or_default();
    let asked = Asked {
        caller,
        api: Api::AccessToken,
        account: &account,
        claim: "",
        nonce: None,
        timestamp: None,
    };
    let refusal = credentials.and_then(|credentials| check(state, &credentials)).err();
    let (plan, visit) = state.open(&asked, refusal);
    let body = match &plan.course {
        Course::Verdict(_) => {
            let (token, rest) = fetch(state);
            let mut object = Object::new();
            object.text("access_token", &token);
            object.raw("expires_in", &rest.as_millis().div_ceil(1000).to_string());
            object.end()
        }
        Course::Refused(refusal) => answer::error(refusal.code, &refusal.message, &asked),
        Course::Status(..) | Course::Hang | Course::Reset => String::new(),
    };
    state.close(&asked, plan, visit, Reply::new(200, JSON, body))
}

fn check(state: &State, credentials: &Credentials) -> Result<(), Refusal> {
    let refuse = |code, message| Err(Refusal::new(code, message));
    match credentials {
        Credentials { grant_type, .. } if grant_type != "client_credential" => {
            refuse(40002, "invalid grant_type")
        }
        Credentials { appid, .. } if appid.is_empty() => refuse(41002, "appid missing"),
        Credentials { secret, .. } if secret.is_empty() => refuse(41004, "appsecret missing"),
        Credentials { appid, .. } if *appid != state.options.app_id => {
            refuse(40013, "invalid appid")
        }
        Credentials { secret, .. }
            if !state
                .accepted()
                .app_secrets
                .iter()
                .any(|known| known.expose_secret() == secret) =>
        {
            refuse(40125, "invalid appsecret")
        }
        _ => Ok(()),
    }
}
