//! The wire side of a claim event: JSON to fields, with the path of the field at fault.
//!
//! Owns what "not given" means and how a time may be written. Knows nothing of what a field is good
//! for.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{
    Account, AccountType, Captcha, Claim, Client, DeadLetterReason, EventError, Identity, Login,
    Reward, address, foreign, required,
};

/// Whole numbers up to here are exact in a JSON number with a fraction.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The event before its checks: everything optional, so that a missing field is named by its path.
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
    /// The claim, where everything required is given.
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
    // A struct would also be read from an array, by position; an event is an object.
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

/// Text that is no JSON: what it is instead, or else the parser's words.
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

/// Says where the JSON is at fault: a second, slower reading that only malformed events pay for.
fn locate(text: &str) -> DeadLetterReason {
    let mut json = serde_json::Deserializer::from_str(text);
    let error = match serde_path_to_error::deserialize::<_, Event>(&mut json) {
        Ok(_) if json.end().is_ok() => {
            return DeadLetterReason::event(EventError::NotAnObject, "the event is no JSON object");
        }
        Ok(_) => {
            let detail = "there is text after the end of the JSON object; send one event a message";
            return DeadLetterReason::event(EventError::NotJson, detail);
        }
        Err(error) => error,
    };
    let path = error.path().to_string();
    let detail = error.inner().to_string();
    let is_whole = path == "." || path == "?";
    // The second of two equal keys: the path is the object's.
    let twice = detail.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`'));
    match (error.inner().classify(), twice) {
        (serde_json::error::Category::Data, Some((key, _))) => {
            let field = if is_whole { key.to_owned() } else { format!("{path}.{key}") };
            let detail = format!("`{field}` is there twice; which of them counts nobody can know");
            DeadLetterReason::field(EventError::DuplicateField, &field, detail)
        }
        (serde_json::error::Category::Data, None) => {
            DeadLetterReason::field(EventError::WrongType, &path, detail)
        }
        _ if is_whole => not_json(text, detail),
        _ => DeadLetterReason { error: EventError::NotJson, field: Some(path), detail },
    }
}

impl<'de> Deserialize<'de> for AccountType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = AccountType;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of the words ")?;
                let words = AccountType::ALL.map(AccountType::as_str);
                f.write_str(&words.join(", "))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<AccountType, E> {
                let found = AccountType::from_word(value);
                found.ok_or_else(|| {
                    let shown: String = value.chars().take(40).collect();
                    E::invalid_value(de::Unexpected::Str(&shown), &self)
                })
            }
        }
        deserializer.deserialize_any(Word)
    }
}

/// UNIX seconds, written as a number or as an RFC 3339 text.
struct Seconds(i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;
        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("UNIX seconds or an RFC 3339 time")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Seconds, E> {
                Ok(Seconds(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Seconds, E> {
                Ok(Seconds(i64::try_from(value).unwrap_or(i64::MAX)))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Seconds, E> {
                let time = OffsetDateTime::parse(value, &Rfc3339);
                time.map(|time| Seconds(time.unix_timestamp()))
                    .map_err(|_| E::custom(not_a_time(value)))
            }
        }
        deserializer.deserialize_any(SecondsVisitor)
    }
}

/// What is wrong with a text that is no RFC 3339 time.
fn not_a_time(text: &str) -> String {
    let shown = foreign::shown(text);
    if text.parse::<f64>().is_ok() {
        return format!("{shown} is a number in quotes; write UNIX seconds without them");
    }
    if OffsetDateTime::parse(&format!("{}Z", text.replace(' ', "T")), &Rfc3339).is_ok() {
        return format!(
            "{shown} has no time zone; write `T` between date and time, and `Z` or `+08:00` at the end"
        );
    }
    format!(
        "{shown} is neither UNIX seconds nor an RFC 3339 time such as 2021-09-30T17:34:40+08:00"
    )
}

/// Reads a value of which empty text, null and absence mean the same: not given
/// (`schemas/claim.v1.json`).
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct Given<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Given<T> {
        type Value = Option<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value of the field's type")
        }
        fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
            Ok(None)
        }
        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Option<T>, E> {
            T::deserialize(value.into_deserializer()).map(Some)
        }
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Option<T>, E> {
            T::deserialize(value.into_deserializer()).map(Some)
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Option<T>, E> {
            T::deserialize(value.into_deserializer()).map(Some)
        }
        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Option<T>, E> {
            // 1795635600.0 is a whole number, as JSON's schemas have it; some languages know no
            // other.
            if value.fract() == 0.0
                && value.abs() <= WHOLE_MAX
                && let Ok(whole) = format!("{value:.0}").parse::<i64>()
            {
                return T::deserialize(whole.into_deserializer()).map(Some);
            }
            T::deserialize(value.into_deserializer()).map(Some)
        }
        fn visit_str<E: de::Error>(self, value: &str) -> Result<Option<T>, E> {
            if value.is_empty() {
                Ok(None)
            } else {
                T::deserialize(value.into_deserializer()).map(Some)
            }
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Given(PhantomData))
}
