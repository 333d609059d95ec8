//! The wire side of a claim event: JSON to fields, with the path of the field at fault.
//!
//! Owns what "not given" means and how a time may be written. Knows nothing about the use of a
//! field.

use serde::Deserialize;
use serde::de;

use super::given::given;
use super::seconds::Seconds;
use super::{
    Account, AccountType, Captcha, Claim, Client, DeadLetterReason, EventError, Identity, Login,
    Reward, address, foreign, required,
};

/// The event before its checks. Every field is optional, so that a missing field can be named by
/// its path.
#[derive(Deserialize)]
struct Event {
    #[serde(default, deserialize_with = "given")]
    claim_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "given")]
    claimed_at: Option<Seconds>,
    #[serde(default, deserialize_with = "given")]
    account: Option<EventAccount>,
    #[serde(default, deserialize_with = "given")]
    client: Option<Client>,
    #[serde(default, deserialize_with = "given")]
    login: Option<Login>,
    #[serde(default, deserialize_with = "given")]
    reward: Option<Reward>,
    #[serde(default, deserialize_with = "given")]
    identity: Option<Identity>,
    #[serde(default, deserialize_with = "given")]
    captcha: Option<Captcha>,
}

#[derive(Deserialize)]
struct EventAccount {
    #[serde(default, rename = "type", deserialize_with = "given")]
    kind: Option<AccountType>,
    #[serde(default, deserialize_with = "given")]
    id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    app_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    associate_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    phone: Option<String>,
    #[serde(default, deserialize_with = "given")]
    registered_at: Option<Seconds>,
}

impl Event {
    /// The claim, if every required field is given.
    fn into_claim(self) -> Result<Claim, DeadLetterReason> {
        let claim_id = required("claim_id", self.claim_id)?;
        let kind = required("kind", self.kind)?;
        let claimed_at = required("claimed_at", self.claimed_at)?.0;
        let account = required("account", self.account)?;
        let account = Account {
            kind: required("account.type", account.kind)?,
            id: required("account.id", account.id)?,
            app_id: account.app_id,
            associate_id: account.associate_id,
            phone: account.phone,
            registered_at: account.registered_at.map(|seconds| seconds.0),
        };
        let mut client = required("client", self.client)?;
        client.ip = client.ip.as_deref().map(address::read).transpose()?.flatten();
        required("client.ip", client.ip.as_ref())?;
        Ok(Claim {
            claim_id,
            kind,
            claimed_at,
            account,
            client,
            login: self.login.unwrap_or_default(),
            reward: self.reward.unwrap_or_default(),
            identity: self.identity.unwrap_or_default(),
            captcha: self.captcha.unwrap_or_default(),
            only_parse_builds_this: (),
        })
    }
}

/// Reads an event's text.
///
/// # Errors
/// [`DeadLetterReason`]: no JSON object, a field of the wrong type, a required field missing.
pub(super) fn read(text: &str) -> Result<Claim, DeadLetterReason> {
    // serde would also read a struct from an array, by position; an event has to be an object.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(match serde_json::from_str::<de::IgnoredAny>(text) {
            Ok(_) => DeadLetterReason::event(EventError::NotAnObject, foreign::no_object(text)),
            Err(error) => not_json(text, error.to_string()),
        });
    }
    match serde_json::from_str::<Event>(text) {
        Ok(event) => event.into_claim().map_err(|malformed| in_envelope(text, malformed)),
        Err(_) => Err(locate(text)),
    }
}

/// The error for text that is not JSON: what it is instead, or else the parser's message.
fn not_json(text: &str, words: String) -> DeadLetterReason {
    DeadLetterReason::event(EventError::NotJson, foreign::format(text.as_bytes()).unwrap_or(words))
}

/// An event without a claim id may be an envelope around one.
fn in_envelope(text: &str, mut malformed: DeadLetterReason) -> DeadLetterReason {
    if malformed.field.as_deref() == Some("claim_id")
        && let Some(envelope) = foreign::envelope(text)
    {
        malformed.detail = format!("{}; {envelope}", malformed.detail);
    }
    malformed
}

/// Finds where the JSON is at fault, by a second, slower parse that only malformed events need.
fn locate(text: &str) -> DeadLetterReason {
    let mut json = serde_json::Deserializer::from_str(text);
    let error = match serde_path_to_error::deserialize::<_, Event>(&mut json) {
        Ok(_) if json.end().is_ok() => {
            return DeadLetterReason::event(
                EventError::NotAnObject,
                "the event is not a JSON object",
            );
        }
        Ok(_) => {
            let detail = "there is text after the end of the JSON object; send one event a message";
            return DeadLetterReason::event(EventError::NotJson, detail);
        }
        Err(error) => error,
    };
    let path = error.path().to_string();
    let detail = error.inner().to_string();
    // At the second of two equal keys, the path is that of the object.
    let twice = detail.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`'));
    match (error.inner().classify(), twice) {
        (serde_json::error::Category::Data, Some((key, _))) => {
            let field =
                if path == "." || path == "?" { key.to_owned() } else { format!("{path}.{key}") };
            let detail = format!("`{field}` is there twice; it is ambiguous which of them counts");
            DeadLetterReason::field(EventError::DuplicateField, &field, detail)
        }
        (serde_json::error::Category::Data, None) => {
            DeadLetterReason::field(EventError::WrongType, &path, detail)
        }
        // The text may end within a producer's own key, which may hold anything. So a field is
        // named only if the contract has it. The parser's message has line and column.
        _ => not_json(text, detail),
    }
}
