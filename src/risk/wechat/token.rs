//! The access token: how it is asked for, and how the answer is read.
//!
//! Knows nothing of when: who keeps the token, for how long, and how many wait for it is the
//! caller's concern.
//!
//! Sources: WeChat `auth.getAccessToken` and `getStableAccessToken`.

use std::borrow::Cow;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{IgnoredAny, MapAccess};
use serde_json::json;

use super::{JSON, Settings, TokenEndpoint};
use crate::risk::signature::encode;
use crate::risk::tolerant::{Found, Keys, Readable, read};
use crate::risk::{Answer, Fault, FaultReason, Method, Request};

/// No token lives longer; WeChat's live for two hours.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);

/// The key before the token.
const KEY: &[u8] = b"access_token";
/// So much of an answer is kept; a good one has some 200 bytes.
const KEPT_BYTES: usize = 4_096;
/// So many characters of the provider's words are passed on.
const LONGEST_WORDS: usize = 200;

/// Fetches access tokens. Who keeps them, and for how long, is the caller's concern.
#[derive(Debug, Clone)]
pub struct TokenSource {
    settings: Settings,
}

/// An access token.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub value: SecretString,
    /// For how long it is good, from the moment of the answer.
    pub expires_in: Duration,
}

impl TokenSource {
    pub(in crate::risk) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone() }
    }

    /// Whether a fetch ends the token that others have.
    pub fn invalidates_others(&self) -> bool {
        self.settings.token_endpoint == TokenEndpoint::Classic
    }

    /// Whether the endpoint can be made to hand out another token than the current one.
    pub fn can_force(&self) -> bool {
        self.settings.token_endpoint == TokenEndpoint::Stable
    }

    /// The request for a token; `force` demands another one than the current one, where that can be
    /// demanded.
    pub fn token_request(&self, force: bool) -> Request {
        let base_url = self.settings.base_url.trim_end_matches('/');
        let (app_id, secret) = (&self.settings.app_id, self.settings.app_secret.expose_secret());
        match self.settings.token_endpoint {
            TokenEndpoint::Stable => {
                let url = format!("{base_url}/cgi-bin/stable_token");
                let body = |secret: &str| json!({"grant_type": "client_credential", "appid": app_id, "secret": secret, "force_refresh": force});
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

    /// Reads the answer to [`Self::token_request`]. A good one has no `errcode`.
    ///
    /// # Errors
    /// Why there is no token.
    pub fn read_token(&self, answer: &Answer<'_>) -> Result<Token, Fault> {
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
        let seconds = envelope.expires_in.given().and_then(|seconds| u64::try_from(seconds).ok());
        let seconds = seconds.filter(|seconds| *seconds > 0).ok_or_else(unreadable)?;
        Ok(Token {
            value: value.into(),
            expires_in: Duration::from_secs(seconds).min(LONGEST_LIFE),
        })
    }
}

/// What WeChat says about a refusal, where it says something: it names the address that is not
/// allowed, and a request id.
pub fn words(answer: &Answer<'_>) -> Option<String> {
    let words = read::<Words>(answer.body)?.0.given()?;
    Some(
        words
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(LONGEST_WORDS)
            .collect(),
    )
}

/// The first bytes of an answer, for the record: without what stands where a token does, whether or
/// not the rest can be read, and without the token that was read.
pub fn redacted(body: &[u8], token: Option<&SecretString>) -> Vec<u8> {
    let token = token.map(|token| token.expose_secret().as_bytes());
    let body = token.map_or_else(|| Cow::Borrowed(body), |token| Cow::Owned(without(body, token)));
    let (mut redacted, mut rest) = (Vec::new(), body.as_ref());
    let at_key =
        |rest: &[u8]| rest.windows(KEY.len()).position(|found| found.eq_ignore_ascii_case(KEY));
    while let Some(at) = at_key(rest) {
        let (before, after) = rest.split_at(at + KEY.len());
        redacted.extend_from_slice(before);
        let is_between = |byte: &u8| b"\": \t\r\n\\".contains(byte);
        let start = after.iter().position(|byte| !is_between(byte)).unwrap_or(after.len());
        redacted.extend_from_slice(&after[..start]);
        redacted.extend_from_slice(b"***");
        let value = &after[start..];
        let end = value.iter().position(|byte| b"\",}\r\n".contains(byte)).unwrap_or(value.len());
        rest = &value[end..];
    }
    redacted.extend_from_slice(rest);
    redacted.truncate(KEPT_BYTES);
    redacted
}

/// The bytes with `***` in place of a text.
fn without(mut body: &[u8], text: &[u8]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(body.len());
    while let Some(at) = body.windows(text.len().max(1)).position(|found| found == text) {
        rest.extend_from_slice(&body[..at]);
        rest.extend_from_slice(b"***");
        body = &body[at + text.len()..];
    }
    rest.extend_from_slice(body);
    rest
}

/// Why no token was given. 40001 is a wrong secret here, whereas a call that meets it has an
/// outdated token.
fn token_fault(code: i64) -> FaultReason {
    match code {
        -1 | -1000 => FaultReason::Busy,
        40001 | 40125 => FaultReason::BadAppSecret,
        40002 => FaultReason::BadGrantType,
        40013 => FaultReason::BadAppId,
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

/// `errmsg` alone.
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
