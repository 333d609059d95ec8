//! A time in an event: UNIX seconds, or a text with an offset.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// UNIX seconds, written as a number or as an RFC 3339 text.
pub(super) struct Seconds(pub(super) i64);

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
fn not_a_time(text: &str) -> &'static str {
    if text.parse::<f64>().is_ok() {
        return "it is a number in quotes; write UNIX seconds without them";
    }
    if OffsetDateTime::parse(&format!("{}Z", text.replace(' ', "T")), &Rfc3339).is_ok() {
        return "it has no time zone; write `T` between date and time, and `Z` or `+08:00` at the \
            end";
    }
    "it is neither UNIX seconds nor an RFC 3339 time such as 2021-09-30T17:34:40+08:00"
}
