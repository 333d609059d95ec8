//! Access tokens: what a vendor says whose APIs demand one.
//!
//! Pure. Knows nothing of when: who keeps a token, for how long, and how many wait for it is the
//! caller's concern. The invariant: no token and no secret is in what [`TokenSource::redacted`] and
//! [`Request::redacted`] keep for the record.

use std::borrow::Cow;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{Answer, Fault, Request, Shared};

/// The key before the token (RFC 6749, section 5.1).
const KEY: &[u8] = b"access_token";
/// So much of an answer is kept; a good one has some 200 bytes.
const KEPT_BYTES: usize = 4_096;

/// An access token.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub value: SecretString,
    /// For how long it is good, from the moment of the answer.
    pub expires_in: Duration,
}

/// How a token is to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// The current one, or a new one if that is about to end.
    Plain,
    /// A new one in any case: the endpoint still hands out the one that was refused.
    Forced,
}

/// Makes a source from the sections that several APIs share.
pub type MakeTokens = fn(&Shared) -> Box<dyn TokenSource>;

/// Where the access tokens of a vendor's APIs come from. All of them use the same one.
pub trait TokenSource: Send + Sync {
    /// The vendor's name, for logs; no other source has it.
    fn vendor(&self) -> &'static str;

    /// The key of the URL that tokens are fetched from, and the URL.
    fn place(&self) -> (&'static str, &str);

    /// The setting by which a fetch ends the token that others have, if it does.
    fn invalidates_others(&self) -> Option<&'static str> {
        None
    }

    /// Whether the endpoint can be made to hand out another token than the current one.
    fn can_force(&self) -> bool {
        false
    }

    /// The request for a token. [`Fetch::Forced`] counts where [`Self::can_force`] says so.
    fn token_request(&self, fetch: Fetch) -> Request;

    /// Reads the answer to [`Self::token_request`], any bytes.
    ///
    /// # Errors
    /// Why there is no token.
    fn read_token(&self, answer: &Answer<'_>) -> Result<Token, Fault>;

    /// Whether an answer without a token says that the endpoint is not there: then another one is
    /// asked from now on, and the sentence tells the operator so. `None` where nothing changes.
    fn fall_back(&self, _: &Answer<'_>) -> Option<String> {
        None
    }

    /// What the vendor says about a refusal, in its own words, on one line of bounded length.
    fn words(&self, _: &Answer<'_>) -> Option<String> {
        None
    }

    /// The first bytes of an answer, for the record: without what stands where a token does,
    /// whether or not the rest can be read, and without the token that was read.
    fn redacted(&self, body: &[u8], token: Option<&SecretString>) -> Vec<u8> {
        redacted(body, token)
    }
}

/// A bounded line without control characters.
pub fn one_line(words: &str, longest: usize) -> String {
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    words.chars().map(clean).take(longest).collect()
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
