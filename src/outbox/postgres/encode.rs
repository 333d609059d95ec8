//! Values on their way into columns, written straight into the statement's buffer: no column
//! vector, no copy.
//!
//! The invariant: nothing that is encoded here is refused by PostgreSQL for its content. Its texts
//! and its JSON hold no NUL character, so that one stands as U+FFFD.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type};
use time::OffsetDateTime;

use crate::decision::Reason;
use crate::intake::Headers;

/// UNIX microseconds of 2000-01-01, from which PostgreSQL counts.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A text without NUL characters.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Gives a type the SQL type of another one.
macro_rules! as_sql_type_of {
    ($type:ty, $like:ty) => {
        impl Type<Postgres> for $type {
            fn type_info() -> PgTypeInfo {
                <$like as Type<Postgres>>::type_info()
            }
        }
        impl PgHasArrayType for $type {
            fn array_type_info() -> PgTypeInfo {
                <$like as PgHasArrayType>::array_type_info()
            }
        }
    };
}

/// A text, NUL characters replaced.
pub(super) struct Text<'a>(pub(super) &'a str);
as_sql_type_of!(Text<'_>, String);

impl Encode<'_, Postgres> for Text<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(clean(self.0).as_bytes());
        Ok(IsNull::No)
    }
}

/// A trace id as 32 hex digits.
pub(super) struct TraceId(pub(super) u128);
as_sql_type_of!(TraceId, String);

impl Encode<'_, Postgres> for TraceId {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let mut digits = [0; 32];
        hex::encode_to_slice(self.0.to_be_bytes(), &mut digits)?;
        buffer.extend_from_slice(&digits);
        Ok(IsNull::No)
    }
}

/// Integers as the text `{1,2}`, to be cast to `int[]`: `unnest` would flatten an array of arrays.
pub(super) struct IntegerList<'a>(pub(super) &'a [i32]);
as_sql_type_of!(IntegerList<'_>, String);

impl Encode<'_, Postgres> for IntegerList<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.push(b'{');
        for (index, value) in self.0.iter().enumerate() {
            if index > 0 {
                buffer.push(b',');
            }
            buffer.extend_from_slice(value.to_string().as_bytes());
        }
        buffer.push(b'}');
        Ok(IsNull::No)
    }
}

/// A point in time, UNIX microseconds, as `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Micros(pub(super) i64);
as_sql_type_of!(Micros, OffsetDateTime);

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let since = self.0.saturating_sub(POSTGRES_EPOCH);
        buffer.extend_from_slice(&since.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl<'r> Decode<'r, Postgres> for Micros {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let nanoseconds = OffsetDateTime::decode(value)?.unix_timestamp_nanos();
        Ok(Self(i64::try_from(nanoseconds.div_euclid(1_000))?))
    }
}

/// A duration in microseconds as `interval`.
pub(super) fn interval(microseconds: i64) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds }
}

/// Reasons as JSON.
pub(super) struct ReasonList<'a>(pub(super) &'a [Reason]);

impl Serialize for ReasonList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match clean_reasons(self.0) {
            Some(cleaned) => cleaned.serialize(serializer),
            None => self.0.serialize(serializer),
        }
    }
}

/// Reasons without NUL characters, where there were any.
pub(super) fn clean_reasons(reasons: &[Reason]) -> Option<Vec<Reason>> {
    let texts = |reason: &Reason| {
        [Some(&reason.code), reason.name.as_ref(), reason.group.as_ref()]
            .into_iter()
            .flatten()
            .any(|text| text.contains('\0'))
    };
    let cleaned = |reason: &Reason| Reason {
        code: clean(&reason.code).into_owned(),
        value: reason.value,
        name: reason.name.as_deref().map(|name| clean(name).into_owned()),
        group: reason.group.as_deref().map(|group| clean(group).into_owned()),
    };
    reasons.iter().any(texts).then(|| reasons.iter().map(cleaned).collect())
}

/// Headers as JSON, in order: `[{"name":"a","text":"b"}]`.
pub(super) struct HeaderList<'a>(pub(super) &'a Headers);

impl Serialize for HeaderList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (name, value) in self.0 {
            list.serialize_element(&Header { name, value: value.as_deref() })?;
        }
        list.end()
    }
}

struct Header<'a> {
    name: &'a str,
    value: Option<&'a [u8]>,
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &clean(self.name))?;
        match self.value.map(|value| (value, as_text(value))) {
            Some((_, Some(text))) => map.serialize_entry("text", text)?,
            Some((value, None)) => map.serialize_entry("base64", &BASE64_STANDARD.encode(value))?,
            None => {}
        }
        map.end()
    }
}

/// Bytes that are text and that PostgreSQL takes as such.
fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_their_bytes_and_their_absence() {
        let headers: Headers = vec![
            ("b".into(), Some(b"text \xe7\xba\xa2".to_vec())),
            ("a".into(), None),
            ("b".into(), Some(vec![])),
            ("raw\0".into(), Some(vec![0xff, 0])),
            ("nul".into(), Some(vec![0])),
        ];
        let json = serde_json::to_string(&HeaderList(&headers)).expect("serialises");
        let expected = concat!(
            r#"[{"name":"b","text":"text 红"},{"name":"a"},{"name":"b","text":""},"#,
            "{\"name\":\"raw\u{fffd}\",\"base64\":\"/wA=\"},{\"name\":\"nul\",\"base64\":\"AA==\"}]"
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_nul_character_becomes_the_replacement_character() {
        assert_eq!(clean("a\0b"), "a\u{fffd}b");
        assert!(matches!(clean("红包"), Cow::Borrowed(_)));
        assert_eq!(clean_reasons(&[Reason::new("level", Some(1), None)]), None);
        let cleaned = clean_reasons(&[Reason::new("a\0", None, Some("\0"))]).expect("changed");
        assert_eq!(cleaned, [Reason::new("a\u{fffd}", None, Some("\u{fffd}"))]);
    }
}
