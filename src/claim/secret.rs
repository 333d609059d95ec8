//! The secrets of a claim, which are used but never stored: login tokens and captcha tickets. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::foreign::without_mark;

/// A secret text. Wherever it would be stored, its hash is stored instead, so that two events can
/// still be compared.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// How a kept hash begins; 64 hex digits follow.
const KEPT: &str = "sha256:";

impl Secret {
    /// The text itself, for the API that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that is stored. For a text that is already such a hash: the same text.
    fn kept(&self) -> Cow<'_, str> {
        let digits = self.0.strip_prefix(KEPT);
        if digits.is_some_and(|digits| digits.len() == 64 && hex::decode(digits).is_ok()) {
            return Cow::Borrowed(&self.0);
        }
        Cow::Owned(format!("{KEPT}{}", hex::encode(Sha256::digest(&self.0))))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.kept().serialize(serializer)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kept())
    }
}

/// The sections of an event that hold secrets.
#[derive(Deserialize)]
struct Sections<'a> {
    #[serde(borrow)]
    login: Option<&'a RawValue>,
    #[serde(borrow)]
    captcha: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Login<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Captcha<'a> {
    #[serde(borrow)]
    ticket: Option<&'a RawValue>,
}

/// The event of a claim as it is stored: byte for byte, except that secrets are replaced by their
/// hashes. An event that is no claim is returned unchanged.
pub fn without_secrets(payload: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(without_mark(payload)).unwrap_or_default();
    // A name may be written with escapes; most events have neither names nor escapes.
    if !["token", "ticket", "\\u"].iter().any(|part| text.contains(part)) {
        return Cow::Borrowed(payload);
    }
    let Some(secrets) = secrets(text) else { return Cow::Borrowed(payload) };
    let mark = payload.len() - text.len();
    let mut kept = Vec::with_capacity(payload.len() + 2 * (KEPT.len() + 64));
    let mut end = 0;
    for (start, value, secret) in secrets {
        kept.extend_from_slice(&payload[end..mark + start]);
        kept.extend_from_slice(format!("\"{}\"", secret.kept()).as_bytes());
        end = mark + start + value.len();
    }
    kept.extend_from_slice(&payload[end..]);
    Cow::Owned(kept)
}

/// The secrets of an event in order: where each begins, its text as it is written, and its value.
fn secrets(text: &str) -> Option<Vec<(usize, &str, Secret)>> {
    let Sections { login, captcha } = serde_json::from_str(text).ok()?;
    let token = login.and_then(|login| serde_json::from_str::<Login<'_>>(login.get()).ok()?.token);
    let ticket =
        captcha.and_then(|captcha| serde_json::from_str::<Captcha<'_>>(captcha.get()).ok()?.ticket);
    let place = |value: &RawValue| value.get().as_ptr().addr() - text.as_ptr().addr();
    let read = |value: &RawValue| serde_json::from_str::<Secret>(value.get()).ok();
    let mut found: Vec<_> = [token, ticket]
        .into_iter()
        .flatten()
        .filter_map(|value| Some((place(value), value.get(), read(value)?)))
        .filter(|(_, _, secret)| !secret.expose().is_empty())
        .collect();
    found.sort_by_key(|(start, ..)| *start);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Claim;

    fn kept(event: &str) -> String {
        String::from_utf8(without_secrets(event.as_bytes()).into_owned()).expect("text")
    }

    /// SHA-256 of `a`.
    const A: &str = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    #[test]
    fn only_the_secrets_change() {
        let event = r#" { "captcha": {"ticket" :"a","type":1}, "login" : {"token": "\u0061" } , "x":[1.50]}"#;
        let expected = format!(
            r#" {{ "captcha": {{"ticket" :"{A}","type":1}}, "login" : {{"token": "{A}" }} , "x":[1.50]}}"#
        );
        assert_eq!(kept(event), expected);
        assert_eq!(kept(&expected), expected, "once is enough");
        let escaped = r#"{"login":{"\u0074oken":"a"}}"#;
        assert_eq!(kept(escaped), format!(r#"{{"login":{{"\u0074oken":"{A}"}}}}"#));
        assert_eq!(kept(&format!("\u{feff}{event}")), format!("\u{feff}{expected}"));
    }

    #[test]
    fn what_holds_no_secret_stays_as_it_is() {
        for event in [
            r#"{"claim_id":"c"}"#,
            r#"{"token":"a","client":{"token":"a"}}"#,
            r#"{"login":{"token":""},"captcha":{"ticket":null}}"#,
            r#"{"login":"","captcha":{"ticket":7}}"#,
            r#"{"login":{"token":"a"}"#,
            "\\u token",
        ] {
            assert!(
                matches!(without_secrets(event.as_bytes()), Cow::Borrowed(_))
                    || kept(event) == event
            );
            assert_eq!(kept(event), event);
        }
        assert_eq!(without_secrets(b"\xff token").as_ref(), b"\xff token");
    }

    #[test]
    fn a_kept_event_is_the_same_claim() {
        let event = |token: &str, ticket: &str| {
            format!(
                r#"{{"claim_id":"c","kind":"k","claimed_at":1,"account":{{"type":"qq","id":"1"}},
                "client":{{"ip":"1.2.3.4"}},"login":{{"token":"{token}"}},"captcha":{{"ticket":"{ticket}"}}}}"#
            )
        };
        let read = |event: &str| Claim::parse(Some(event.as_bytes()), usize::MAX).expect("a claim");
        let claim = read(&event("t", "红"));
        let again = read(&kept(&event("t", "红")));
        assert_eq!(claim.fingerprint(), again.fingerprint());
        assert_eq!(claim.differences(&again), [""; 0]);
        assert_eq!(claim.differences(&read(&kept(&event("u", "红")))), ["login.token"]);
        let shown = format!("{claim:?}") + &serde_json::to_string(&claim).expect("JSON");
        assert!(!shown.contains("红") && shown.contains(KEPT));
    }
}
