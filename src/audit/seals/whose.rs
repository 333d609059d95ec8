//! Whether an event names a person. Pure.
//!
//! A dead letter is no claim, so it is read more tolerantly than an event. An `account` counts at
//! any depth: in an envelope, a list, or a JSON text within the JSON. If a key occurs twice, both
//! values count. A number counts as the text of its digits.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The depth to which an account is looked for: deeper than any envelope, and bounded against
/// hostile events.
const DEPTH: u32 = 16;

/// An account's type and id.
pub(super) type Person<'a> = (&'a str, &'a str);

/// Whether the event's JSON names this person.
pub(super) fn is_of(payload: &[u8], person: Person<'_>) -> bool {
    let text = String::from_utf8_lossy(payload);
    any_is_of(text.trim_start_matches('\u{feff}'), person, DEPTH)
}

/// The same for a text that may hold several values.
fn any_is_of(text: &str, person: Person<'_>, depth: u32) -> bool {
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.map_while(Result::ok).any(|value| value_is_of(value, person, depth))
}

fn value_is_of(value: &RawValue, person: Person<'_>, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => pairs(text).into_iter().any(|(key, value)| {
            (key == "account" && is_account(value, person)) || value_is_of(value, person, depth)
        }),
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            values.into_iter().any(|value| value_is_of(value, person, depth))
        }
        Some(b'"') if text.contains('{') => {
            let inner = serde_json::from_str::<String>(text);
            inner.is_ok_and(|inner| any_is_of(&inner, person, depth))
        }
        _ => false,
    }
}

fn is_account(value: &RawValue, (account_type, id): Person<'_>) -> bool {
    let fields = pairs(value.get());
    let texts = |name| {
        let named = fields.iter().filter(move |(key, _)| key == name);
        named.filter_map(|(_, value)| scalar(value))
    };
    texts("type").any(|text| text.eq_ignore_ascii_case(account_type))
        && texts("id").any(|text| text == id)
}

/// A text, or the digits of a number.
fn scalar(value: &RawValue) -> Option<String> {
    match serde_json::from_str(value.get()).ok()? {
        Value::String(text) => Some(text),
        Value::Number(_) => {
            let digits = value.get();
            Some(digits.strip_suffix(".0").unwrap_or(digits).to_owned())
        }
        _ => None,
    }
}

/// The keys and values of a JSON object, with both of two equal keys; none for any other value.
fn pairs(text: &str) -> Vec<(String, &RawValue)> {
    serde_json::from_str::<Pairs<'_>>(text).map(|pairs| pairs.0).unwrap_or_default()
}

struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSON: Person<'_> = ("phone", "15912345687");
    const ACCOUNT: &str = r#"{"type":"phone","id":"15912345687"}"#;

    #[test]
    fn an_event_that_is_no_claim_says_whose_it_is() {
        let in_text = serde_json::to_string(&format!("{{\"account\":{ACCOUNT}}}")).expect("a text");
        for event in [
            format!("{{\"account\":{ACCOUNT}}}"),
            format!("\u{feff}{{\"account\":{ACCOUNT}}}"),
            format!("{{\"claim_id\":17,\"account\":{ACCOUNT}}}"),
            format!("{{\"claim_id\":\"a\",\"claim_id\":[],\"account\":{ACCOUNT}}}"),
            format!("{{\"account\":{ACCOUNT},\"account\":{{\"type\":\"qq\",\"id\":\"1\"}}}}"),
            format!("{{\"x\":\"\\ud800\",\"account\":{ACCOUNT}}}"),
            format!("{{}}\n{{\"account\":{ACCOUNT}}} and more"),
            format!("[{{\"payload\":{{\"account\":{ACCOUNT}}}}}]"),
            in_text,
            r#"{"account":{"type":"phone","id":15912345687}}"#.to_owned(),
            r#"{"account":{"type":"phone","id":15912345687.0}}"#.to_owned(),
            r#"{"account":{"type":"Phone","id":"1","id":"15912345687"}}"#.to_owned(),
        ] {
            assert!(is_of(event.as_bytes(), PERSON), "{event}");
        }
        let gbk = [b"{\"x\":\"\xba\xec\",\"account\":", ACCOUNT.as_bytes(), b"}"].concat();
        assert!(is_of(&gbk, PERSON), "text that is no UTF-8");
    }

    #[test]
    fn an_event_of_another_says_nothing_of_a_person() {
        for event in [
            "",
            "15912345687",
            ACCOUNT,
            r#"{"account":"15912345687"}"#,
            r#"{"account":{"type":"qq","id":"15912345687"}}"#,
            r#"{"account":{"type":"phone","id":"15912345688"},"id":"15912345687"}"#,
            r#"{"account":{"type":"phone"},"id":"15912345687"}"#,
            r#"{"account":{"type":"phone","id":"15912345687""#,
        ] {
            assert!(!is_of(event.as_bytes(), PERSON), "{event}");
        }
    }

    #[test]
    fn a_hostile_event_is_survived() {
        for part in ["[", "{\"account\":", "{\"a\":["] {
            assert!(!is_of(part.repeat(200_000).as_bytes(), PERSON));
        }
        let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(!is_of(deep.as_bytes(), PERSON));
    }
}
