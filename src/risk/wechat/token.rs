//! The access token: the request for it, and the reading of the answer.
//!
//! Sources: WeChat `auth.getAccessToken` and `getStableAccessToken`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{IgnoredAny, MapAccess};
use serde_json::json;

use super::{JSON, Settings, TokenEndpoint};
use crate::live::Live;
use crate::risk::signature::encode;
use crate::risk::tokens::without_secret;
use crate::risk::tolerant::{Found, Keys, Readable, read};
use crate::risk::{
    Answer, Fault, FaultReason, Fetch, Method, Request, Shared, Token, TokenSource, one_line,
};

/// How long a token is valid, in seconds, if the answer does not say.
const USUAL_LIFE: u64 = 7_200;
/// No token is valid for longer.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);

/// Codes that `/cgi-bin/stable_token` never answers: no such path, missing access token (every POST
/// is handled as a call), GET required.
const NOT_THERE: [i64; 3] = [40066, 41001, 43001];

/// The most characters of the provider's message that are passed on.
const LONGEST_WORDS: usize = 200;

/// Where WeChat's access tokens come from.
#[derive(Debug)]
struct AccessTokens {
    settings: Live<Settings>,
    base_url: String,
    endpoint: TokenEndpoint,
    /// Whether the server turned out not to have `endpoint`, so that the classic one is used.
    falls_back: AtomicBool,
}

impl AccessTokens {
    /// The endpoint that is used.
    fn endpoint(&self) -> TokenEndpoint {
        let falls_back = self.falls_back.load(Ordering::Relaxed);
        if falls_back { TokenEndpoint::Classic } else { self.endpoint }
    }
}

/// [`Registration::tokens`](crate::risk::Registration::tokens) of every product.
pub fn tokens(shared: &Shared) -> Box<dyn TokenSource> {
    let settings = shared.wechat.now();
    Box::new(AccessTokens {
        settings: shared.wechat.clone(),
        base_url: settings.base_url.clone(),
        endpoint: settings.token_endpoint,
        falls_back: AtomicBool::new(false),
    })
}

impl TokenSource for AccessTokens {
    fn vendor(&self) -> &'static str {
        "WeChat"
    }

    fn place(&self) -> (&'static str, &str) {
        ("wechat.base_url", &self.base_url)
    }

    fn invalidates_others(&self) -> Option<&'static str> {
        let is_classic = self.endpoint() == TokenEndpoint::Classic;
        is_classic.then_some("wechat.token_endpoint = \"classic\"")
    }

    fn can_force(&self) -> bool {
        self.endpoint() == TokenEndpoint::Stable
    }

    fn token_request(&self, fetch: Fetch) -> Request {
        let base_url = self.base_url.trim_end_matches('/');
        let settings = self.settings.now();
        let (app_id, secret) = (&settings.app_id, settings.app_secret.expose_secret());
        match self.endpoint() {
            TokenEndpoint::Stable => {
                let url = format!("{base_url}/cgi-bin/stable_token");
                let force = fetch == Fetch::Forced;
                let body = |secret: &str| {
                    json!({
                        "grant_type": "client_credential", "appid": app_id, "secret": secret,
                        "force_refresh": force,
                    })
                };
                let redacted = format!("POST {url}\n\n{}", body("***"));
                Request {
                    method: Method::Post,
                    url,
                    body: Some((JSON, body(secret).to_string())),
                    redacted,
                }
            }
            TokenEndpoint::Classic => {
                let url = format!(
                    "{base_url}/cgi-bin/token?grant_type=client_credential&appid={}&secret=",
                    encode(app_id)
                );
                let redacted = format!("GET {url}***");
                Request {
                    method: Method::Get,
                    url: format!("{url}{}", encode(secret)),
                    body: None,
                    redacted,
                }
            }
        }
    }

    /// A good answer has no `errcode`.
    fn read_token(&self, answer: &Answer<'_>) -> Result<Token, Fault> {
        let unreadable = || Fault::from(answer.reason());
        let envelope = read::<TokenEnvelope>(answer.body).ok_or_else(unreadable)?;
        match envelope.errcode {
            Found::Absent | Found::Given(0) if answer.is_success() => {}
            Found::Given(code) if code != 0 => return Err(Fault::coded(token_fault(code), code)),
            _ => return Err(unreadable()),
        }
        let value = envelope
            .access_token
            .given()
            .filter(|token| !token.trim().is_empty())
            .ok_or_else(unreadable)?;
        let seconds = match envelope.expires_in {
            Found::Given(seconds) => u64::try_from(seconds).ok(),
            // The sample of 小程序风控 API reads only the token.
            Found::Absent => Some(USUAL_LIFE),
            Found::Unusable => None,
        };
        let seconds = seconds.filter(|seconds| *seconds > 0).ok_or_else(unreadable)?;
        Ok(Token {
            value: value.into(),
            expires_in: Duration::from_secs(seconds).min(LONGEST_LIFE),
        })
    }

    fn fall_back(&self, answer: &Answer<'_>) -> Option<String> {
        if self.endpoint != TokenEndpoint::Stable || !is_not_there(answer) {
            return None;
        }
        if self.falls_back.fetch_xor(true, Ordering::Relaxed) {
            // The other one is missing, too: the server is away, so nothing is known about its
            // endpoints.
            return None;
        }
        Some(format!(
            "{} has no /cgi-bin/stable_token (HTTP {}): tokens come from /cgi-bin/token from now \
             on, where each fetch ends the token of every other worker and system; correct \
             wechat.base_url, or set wechat.token_endpoint = \"classic\"",
            self.base_url, answer.status
        ))
    }

    fn secret(&self) -> SecretString {
        self.settings.now().app_secret.clone()
    }

    /// They name the address that is not allowed, and a request id.
    fn words(&self, answer: &Answer<'_>) -> Option<String> {
        let words = read::<Words>(answer.body)?.0.given()?;
        let words = without_secret(words.as_bytes(), &self.secret());
        Some(one_line(&String::from_utf8_lossy(&words), LONGEST_WORDS))
    }
}

/// Whether a server says that it does not know the endpoint: by its status, with a page, or with a
/// code that no token endpoint has.
fn is_not_there(answer: &Answer<'_>) -> bool {
    let first = answer.body.iter().find(|byte| !byte.is_ascii_whitespace());
    let code = || read::<TokenEnvelope>(answer.body)?.errcode.given();
    matches!(answer.status, 404 | 405 | 501)
        || (answer.is_success() && first.is_some_and(|byte| *byte == b'<'))
        || (!answer.is_read_by_status() && code().is_some_and(|code| NOT_THERE.contains(&code)))
}

/// Why no token was given. Here 40001 means a wrong secret; for a call it means an outdated token.
fn token_fault(code: i64) -> FaultReason {
    match code {
        -1 | -1000 => FaultReason::Busy,
        40001 | 40125 => FaultReason::BadAppSecret,
        40002 => FaultReason::BadGrantType,
        40013 => FaultReason::BadAppId,
        40066 => FaultReason::UnknownPath,
        40164 => FaultReason::IpNotAllowed,
        40243 => FaultReason::AppSecretFrozen,
        89503 | 89506 | 89507 => FaultReason::IpNotConfirmed,
        45009 => FaultReason::QuotaExceeded,
        45011 => FaultReason::RateLimited,
        48001 | 48004 | 50002 | 61004 | 61007 => FaultReason::NotAuthorised,
        _ => FaultReason::UnknownCode,
    }
}

#[derive(Default)]
struct TokenEnvelope {
    errcode: Found<i64>,
    access_token: Found<String>,
    expires_in: Found<i64>,
}

impl Readable for TokenEnvelope {
    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut envelope = Self::default();
        while let Some(key) =
            object.next_key_seed(Keys(&["errcode", "access_token", "expires_in"]))?
        {
            match key {
                "errcode" => envelope.errcode.merge(object.next_value()?),
                "access_token" => envelope.access_token.merge(object.next_value()?),
                "expires_in" => envelope.expires_in.merge(object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(envelope))
    }
}

/// Only `errmsg`.
struct Words(Found<String>);

impl Readable for Words {
    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut words = Found::default();
        while let Some(key) = object.next_key_seed(Keys(&["errmsg"]))? {
            match key {
                "errmsg" => words.merge(object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(Self(words)))
    }
}
