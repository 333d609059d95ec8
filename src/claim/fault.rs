//! Describes what is wrong with a value, without the value. Pure.
//!
//! The sentence is stored unencrypted (`dead_letters.detail`), even if events are encrypted, and a
//! field may hold a value that belongs into another field: a phone number, a token.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

/// The error of reading one value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Fault(String);

impl de::Error for Fault {
    fn custom<T: fmt::Display>(sentence: T) -> Self {
        Self(sentence.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("found {}, expected {}", kind(found), in_words(&expected.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Signed(..0) => "a negative number",
        Unexpected::Unsigned(number) if i64::try_from(number).is_err() => "a very large number",
        Unexpected::Signed(_) | Unexpected::Unsigned(_) => "a number",
        Unexpected::Float(_) => "a fraction or a very large number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "an object",
        _ => "something else",
    }
}

/// What serde expects, in JSON's terms.
fn in_words(expected: &str) -> &str {
    match expected {
        "a string" => "a text",
        "i64" => "a whole number",
        "f64" => "a number",
        structure if structure.starts_with("struct ") => "an object",
        words => words,
    }
}
