//! Parses answers tolerantly, but without guessing.
//!
//! Owns what "tolerant" means for every API: the case of a key and blanks around it do not matter
//! (`"level "`, `Level`), and a number may be written as text or with a point (`"code":"0"`,
//! `"level":2.0`). It also owns what "without guessing" means: a value of the wrong type, or a key
//! that occurs twice with different values, is [`Found::Unusable`], which no API may treat as
//! "clean".
//!
//! It parses in one pass and builds no tree of values: depth and size of a body cost neither stack
//! nor memory.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Up to 2 to the power of 53, every whole number has its own `f64`.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// A field of an answer, as found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// Not there, or null.
    #[default]
    Absent,
    /// It is there and readable.
    Given(T),
    /// It is there but not readable as a `T`, or it occurs twice with different values.
    Unusable,
}

impl<T: PartialEq> Found<T> {
    /// Takes in a value of the key. The first value is kept; a second one must be the same.
    pub(super) fn merge(&mut self, other: Self) {
        match (&*self, other) {
            (_, Self::Absent) => {}
            (Self::Absent, other) => *self = other,
            (Self::Given(one), Self::Given(other)) if *one == other => {}
            _ => *self = Self::Unusable,
        }
    }
}

impl<T> Found<T> {
    /// The value, if there is a readable one.
    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Unusable => None,
        }
    }
}

/// Reads a whole body, with or without a byte order mark.
pub(super) fn read<T: Readable>(body: &[u8]) -> Option<T> {
    let body = without_mark(body);
    let found = serde_json::from_slice::<Found<T>>(body);
    let found = found.or_else(|_| serde_json::from_slice(&escaped(body)));
    found.ok().and_then(Found::given)
}

/// Reads JSON that is the content of a text.
pub(super) fn read_text<T: Readable>(text: &str) -> Option<T> {
    read(text.as_bytes())
}

/// The body without the byte order mark before it.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The same JSON with every control character within a text escaped, as JSON requires: some servers
/// echo their input unescaped. A good answer does not change.
fn escaped(body: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(body.len() + 64);
    let (mut in_text, mut after_backslash) = (false, false);
    for byte in body {
        if in_text && *byte < b' ' {
            if after_backslash {
                // No escape begins like this: the backslash is literal.
                escaped.push(b'\\');
            }
            escaped.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            in_text ^= *byte == b'"' && !after_backslash;
            escaped.push(*byte);
        }
        after_backslash = in_text && *byte == b'\\' && !after_backslash;
    }
    escaped
}

/// A type that can be read from JSON. A form that the type does not accept makes only this value
/// unusable.
pub(super) trait Readable: Sized {
    /// From a number without a fraction.
    fn integer(_: i64) -> Option<Self> {
        None
    }

    /// From a whole number that is too large for [`Readable::integer`].
    fn beyond() -> Option<Self> {
        None
    }

    /// From a text.
    fn text(_: &str) -> Option<Self> {
        None
    }

    /// From a list.
    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// From an object.
    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl Readable for i64 {
    fn integer(value: i64) -> Option<Self> {
        Some(value)
    }

    fn text(value: &str) -> Option<Self> {
        value.trim().parse().ok()
    }
}

impl Readable for String {
    fn text(value: &str) -> Option<Self> {
        Some(value.to_owned())
    }
}

/// A risk type; `None` if it is larger than the stored type, so that no table can have it.
struct Code(Option<i32>);

impl Readable for Code {
    fn integer(value: i64) -> Option<Self> {
        Some(Self(i32::try_from(value).ok()))
    }

    fn beyond() -> Option<Self> {
        Some(Self(None))
    }

    fn text(value: &str) -> Option<Self> {
        i64::text(value).and_then(Self::integer)
    }
}

/// Risk types, each once: a list of numbers. One number means a list of one, an empty text means
/// none. An unknown code is kept if possible. A code that is not a number makes the list unusable,
/// because it might have been the one that matters.
impl Readable for Vec<i32> {
    fn integer(value: i64) -> Option<Self> {
        Code::integer(value).map(|code| code.0.into_iter().collect())
    }

    fn beyond() -> Option<Self> {
        Some(Self::new())
    }

    fn text(value: &str) -> Option<Self> {
        if value.trim().is_empty() {
            Some(Self::new())
        } else {
            i64::text(value).and_then(Self::integer)
        }
    }

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let (mut codes, mut seen) = (Some(Self::new()), HashSet::new());
        while let Some(element) = list.next_element::<Found<Code>>()? {
            codes = codes.zip(element.given()).map(|(mut codes, Code(code))| {
                codes.extend(code.filter(|code| seen.insert(*code)));
                codes
            });
        }
        Ok(codes)
    }
}

impl<'de, T: Readable> Deserialize<'de> for Found<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FoundVisitor(PhantomData))
    }
}

struct FoundVisitor<T>(PhantomData<T>);

impl<T> FoundVisitor<T> {
    fn found<E>(value: Option<T>) -> Result<Found<T>, E> {
        Ok(value.map_or(Found::Unusable, Found::Given))
    }
}

impl<'de, T: Readable> Visitor<'de> for FoundVisitor<T> {
    type Value = Found<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Found<T>, E> {
        Ok(Found::Absent)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found<T>, E> {
        Ok(Found::Unusable)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Found<T>, E> {
        Self::found(match value {
            _ if value.fract() != 0.0 => None,
            _ if value.abs() > MOST_EXACT => T::beyond(),
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within 2^53")]
            _ => T::integer(value as i64),
        })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Found<T>, E> {
        Self::found(T::integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Found<T>, E> {
        Self::found(i64::try_from(value).map_or_else(|_| T::beyond(), T::integer))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Found<T>, E> {
        Self::found(T::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Found<T>, A::Error> {
        T::list(list).and_then(Self::found)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Found<T>, A::Error> {
        T::object(object).and_then(Self::found)
    }
}

/// Reads a key and returns which of these names it means, or the empty name. Names are in lower
/// case.
#[derive(Clone, Copy)]
pub(super) struct Keys(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Keys {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Keys {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<&'static str, E> {
        let key = key.trim();
        Ok(self.0.iter().find(|name| key.eq_ignore_ascii_case(name)).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped_text(body: &str) -> String {
        String::from_utf8(escaped(body.as_bytes())).unwrap()
    }

    #[test]
    fn a_control_character_is_escaped_within_texts_alone() {
        assert_eq!(
            escaped_text("{\n\"a\nb\":\t\"\u{0}\\\"\u{1f}\"}"),
            "{\n\"a\\u000ab\":\t\"\\u0000\\\"\\u001f\"}"
        );
        assert_eq!(
            escaped_text("\"a\\\\\"\n\"b\\\n\""),
            "\"a\\\\\"\n\"b\\\\\\u000a\"",
            "backslashes"
        );
        assert_eq!(read::<String>(b"\"a\nb\\nc\""), Some("a\nb\nc".to_owned()));
    }

    #[test]
    fn control_characters_never_change_a_deciding_value() {
        assert_eq!(read::<i64>(b"\"0\x01\""), None);
        assert_eq!(read::<i64>(b"0\x01"), None);
        assert_eq!(read::<i64>(b"\"1\n\""), read::<i64>(br#""1\n""#), "as if it had been escaped");
        assert_eq!(read::<i64>(b"\"1\x002\""), None);
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        let numbers = ["2.0", "-0.0", "1e3", "-9007199254740992.0"]
            .map(|text| read::<i64>(text.as_bytes()).expect("a whole number"));
        assert_eq!(numbers, [2, 0, 1_000, -9_007_199_254_740_992]);
        for text in ["0.5", "2.0000001", "-1e-9", "1e300", "99999999999999999999"] {
            assert_eq!(read::<i64>(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_risk_type_is_read_once_and_an_impossible_one_is_dropped() {
        let codes = |text: &str| read::<Vec<i32>>(text.as_bytes());
        assert_eq!(codes("[4,101.0,4,\"101\",5]"), Some(vec![4, 101, 5]));
        for large in ["2147483648", "-9999999999", "18446744073709551615", "1e300"] {
            assert_eq!(codes(&format!("[{large},4]")), Some(vec![4]), "{large}");
            assert_eq!(codes(large), Some(vec![]), "{large}");
        }
        for other in ["[4,\"bot\"]", "[4,0.5]", "[4,true]", "[4,null]", "[4,[5]]"] {
            assert_eq!(codes(other), None, "{other} may be the one that matters");
        }
        assert_eq!(codes(&format!("[{}1]", "1,".repeat(500_000))), Some(vec![1]));
    }
}
