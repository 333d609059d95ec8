//! Access tokens: how a vendor whose APIs need one issues it.
//!
//! Pure. The caller decides when a token is fetched and how long it is kept. The invariant: no
//! token and no secret is in the texts of [`TokenSource::redacted`] and [`Request::redacted`],
//! which are stored.

use std::borrow::Cow;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::signature::encode;
use super::{Answer, Fault, Request, Shared};

/// The key before the token (RFC 6749, section 5.1).
const KEY: &[u8] = b"access_token";
/// The most bytes of an answer that are kept. A good one has some 200 bytes.
const KEPT_BYTES: usize = 4_096;

/// An access token.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub value: SecretString,
    /// How long it is valid, from the time of the answer.
    pub expires_in: Duration,
}

/// How a token is to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// The current one, or a new one if that is about to end.
    Plain,
    /// A new one in any case: the endpoint still returns the one that was refused.
    Forced,
}

/// The constructor of a source, from the sections that several APIs share.
pub type MakeTokens = fn(&Shared) -> Box<dyn TokenSource>;

/// A source of access tokens. All APIs of a vendor use the same token.
pub trait TokenSource: Send + Sync {
    /// The vendor's name, for logs; no other source has it.
    fn vendor(&self) -> &'static str;

    /// The key of the URL that tokens are fetched from, and the URL.
    fn place(&self) -> (&'static str, &str);

    /// The setting with which a fetch invalidates the token that others have, if it does.
    fn invalidates_others(&self) -> Option<&'static str> {
        None
    }

    /// Whether the endpoint can be forced to return another token than the current one.
    fn can_force(&self) -> bool {
        false
    }

    /// The request for a token. [`Fetch::Forced`] has an effect only if [`Self::can_force`] is
    /// true.
    fn token_request(&self, fetch: Fetch) -> Request;

    /// Reads the answer to [`Self::token_request`], any bytes.
    ///
    /// # Errors
    /// Why there is no token.
    fn read_token(&self, answer: &Answer<'_>) -> Result<Token, Fault>;

    /// Checks whether an answer without a token means that the endpoint does not exist. Then
    /// another endpoint is used from now on, and the returned sentence tells the operator. `None`
    /// if nothing changes.
    fn fall_back(&self, _: &Answer<'_>) -> Option<String> {
        None
    }

    /// The secret of the request. An answer may repeat it, as a page of an error does with the URL.
    fn secret(&self) -> SecretString;

    /// The vendor's message about a refusal, on one line of bounded length, without the secret.
    fn words(&self, _: &Answer<'_>) -> Option<String> {
        None
    }

    /// The first bytes of an answer, to be stored: without any value in the place of a token, even
    /// if the rest cannot be read, and without the token that was read and the secret.
    fn redacted(&self, body: &[u8], token: Option<&SecretString>) -> Vec<u8> {
        redacted(&without_secret(body, &self.secret()), token)
    }
}

/// A bounded line without control characters.
pub fn one_line(words: &str, longest: usize) -> String {
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    words.chars().map(clean).take(longest).collect()
}

/// The bytes with `***` in place of a secret as it is, and as URLs and JSON have it.
pub(super) fn without_secret(body: &[u8], secret: &SecretString) -> Vec<u8> {
    let secret = secret.expose_secret();
    if secret.is_empty() {
        return body.to_vec();
    }
    let json = serde_json::Value::from(secret).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let forms = [secret.to_owned(), encode(secret).to_string(), json];
    forms.iter().fold(body.to_vec(), |body, form| without(&body, form.as_bytes()))
}

fn redacted(body: &[u8], token: Option<&SecretString>) -> Vec<u8> {
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
