//! The wire side of a claim event: JSON to fields, with the path of the field at fault.
//!
//! Owns what "not given" means and how a time may be written. Knows nothing of what a field is good for.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Account, AccountType, Captcha, Claim, Client, Identity, Login, Malformed, Reward};

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
    fn into_claim(self) -> Result<Claim, Malformed> {
        let claim_id = self.claim_id.ok_or_else(|| Malformed::missing("claim_id"))?;
        let kind = self.kind.ok_or_else(|| Malformed::missing("kind"))?;
        let claimed_at = self.claimed_at.ok_or_else(|| Malformed::missing("claimed_at"))?.0;
        let account = self.account.ok_or_else(|| Malformed::missing("account"))?;
        let account = Account {
            kind: account.kind.ok_or_else(|| Malformed::missing("account.type"))?,
            id: account.id.ok_or_else(|| Malformed::missing("account.id"))?,
            app_id: account.app_id,
            associate_id: account.associate_id,
            phone: account.phone,
            registered_at: account.registered_at.map(|seconds| seconds.0),
        };
        let client = self.client.ok_or_else(|| Malformed::missing("client"))?;
        if client.ip.is_none() {
            return Err(Malformed::missing("client.ip"));
        }
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
/// [`Malformed`]: no JSON object, a field of the wrong type, a required field missing.
pub(super) fn read(text: &str) -> Result<Claim, Malformed> {
    // A struct would also be read from an array, by position; an event is an object.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(match serde_json::from_str::<de::IgnoredAny>(text) {
            Ok(_) => Malformed::event("not_an_object", "the event is JSON and no object"),
            Err(error) => Malformed::event("not_json", error.to_string()),
        });
    }
    match serde_json::from_str::<Event>(text) {
        Ok(event) => event.into_claim(),
        Err(_) => Err(locate(text)),
    }
}

/// Says where the JSON is at fault: a second, slower reading that only malformed events pay for.
fn locate(text: &str) -> Malformed {
    let mut json = serde_json::Deserializer::from_str(text);
    let error = match serde_path_to_error::deserialize::<_, Event>(&mut json) {
        Ok(_) if json.end().is_ok() => {
            return Malformed::event("not_an_object", "the event is no JSON object");
        }
        Ok(_) => return Malformed::event("not_json", "there is text after the end of the JSON object"),
        Err(error) => error,
    };
    let path = error.path().to_string();
    let detail = error.inner().to_string();
    match error.inner().classify() {
        serde_json::error::Category::Data => Malformed::field("wrong_type", &path, detail),
        _ if path == "." || path == "?" => Malformed::event("not_json", detail),
        _ => Malformed { error: "not_json", field: Some(path), detail },
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
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(SecondsVisitor)
    }
}

/// Reads a value of which empty text, null and absence mean the same: not given (contract 3.1).
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
            T::deserialize(value.into_deserializer()).map(Some)
        }
        fn visit_str<E: de::Error>(self, value: &str) -> Result<Option<T>, E> {
            if value.is_empty() { Ok(None) } else { T::deserialize(value.into_deserializer()).map(Some) }
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Given(PhantomData))
}
