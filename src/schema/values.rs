//! Encodes the values of columns straight into the statement's buffer, without a vector per column
//! and without copies. Also decodes times and durations.
//!
//! The invariant: PostgreSQL refuses nothing that is encoded here for its content. Its texts cannot
//! hold a NUL character, which is replaced by U+FFFD.

use std::borrow::Cow;

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type};
use time::OffsetDateTime;

/// 2000-01-01 in UNIX microseconds: PostgreSQL counts from there.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A text without NUL characters.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
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
        buffer.extend_from_slice(&self.sent());
        Ok(IsNull::No)
    }
}

impl Micros {
    /// In PostgreSQL's binary form.
    pub(super) fn sent(self) -> [u8; 8] {
        self.0.saturating_sub(POSTGRES_EPOCH).to_be_bytes()
    }
}

impl<'r> Decode<'r, Postgres> for Micros {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        // Without `OffsetDateTime`, which panics if a year has five digits.
        Ok(Self(<i64 as Decode<Postgres>>::decode(value)?.saturating_add(POSTGRES_EPOCH)))
    }
}

impl From<Micros> for i64 {
    fn from(Micros(microseconds): Micros) -> Self {
        microseconds
    }
}

impl TryFrom<Micros> for OffsetDateTime {
    type Error = String;

    fn try_from(Micros(microseconds): Micros) -> Result<Self, String> {
        Self::from_unix_timestamp_nanos(i128::from(microseconds) * 1_000)
            .map_err(|_| "the year of this time has more than four digits".to_owned())
    }
}

/// A point in time, UNIX seconds, as `timestamptz`.
pub(super) struct Seconds(pub(super) i64);
as_sql_type_of!(Seconds, OffsetDateTime);

impl Encode<'_, Postgres> for Seconds {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Micros(self.0.saturating_mul(1_000_000)).encode_by_ref(buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Seconds {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(Micros::decode(value)?.0.div_euclid(1_000_000)))
    }
}

impl From<Seconds> for i64 {
    fn from(Seconds(seconds): Seconds) -> Self {
        seconds
    }
}

/// A duration in microseconds as `interval`.
pub(super) struct Interval(pub(super) i64);
as_sql_type_of!(Interval, PgInterval);

impl Encode<'_, Postgres> for Interval {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        PgInterval { months: 0, days: 0, microseconds: self.0 }.encode_by_ref(buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Interval {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let PgInterval { months, days, microseconds } = PgInterval::decode(value)?;
        let days = 30 * i64::from(months) + i64::from(days);
        Ok(Self(microseconds.saturating_add(days.saturating_mul(24 * 3_600_000_000))))
    }
}

impl From<Interval> for i64 {
    fn from(Interval(microseconds): Interval) -> Self {
        microseconds
    }
}

/// A counter as PostgreSQL's `int`; it has no unsigned type.
pub(super) fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// UNIX microseconds as a point in time.
pub fn utc(microseconds: i64) -> OffsetDateTime {
    let nanoseconds = i128::from(microseconds) * 1_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A point in time as UNIX microseconds.
pub(crate) fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or_default()
}

/// Microseconds as milliseconds.
pub(crate) fn milliseconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_clock_gives_is_an_error() {
        assert_eq!(OffsetDateTime::try_from(Micros(0)), Ok(OffsetDateTime::UNIX_EPOCH));
        for no_time in [i64::MIN, i64::MAX] {
            assert!(OffsetDateTime::try_from(Micros(no_time)).is_err());
        }
    }

    #[test]
    fn a_nul_character_becomes_the_replacement_character() {
        assert_eq!(clean("a\0b"), "a\u{fffd}b");
        assert!(matches!(clean("红包"), Cow::Borrowed(_)));
    }
}
