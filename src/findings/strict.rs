//! Reads values of the `config` crate as what they are. The crate itself rounds a fraction where an
//! integer is due, and takes `true` for 1. Pure.
//!
//! A text may still be a number: a variable of the environment is nothing else.

use config::{ConfigError, Value, ValueKind};
use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// A value, and all below it.
pub(super) struct Strict(pub(super) Value);

impl Strict {
    fn integer(self) -> Result<Value, ConfigError> {
        let reads = |text: &str| text.parse::<i128>().is_ok();
        self.only_if(|kind| is_integer(kind) || is_text(kind, reads), "a whole number")
    }

    fn number(self) -> Result<Value, ConfigError> {
        let reads = |text: &str| text.parse::<f64>().is_ok();
        let fits = |kind: &ValueKind| {
            is_integer(kind) || matches!(kind, ValueKind::Float(_)) || is_text(kind, reads)
        };
        self.only_if(fits, "a number")
    }

    fn boolean(self) -> Result<Value, ConfigError> {
        let fits = |kind: &ValueKind| matches!(kind, ValueKind::Boolean(_) | ValueKind::String(_));
        self.only_if(fits, "true or false")
    }

    fn only_if(
        self,
        fits: impl FnOnce(&ValueKind) -> bool,
        expected: &str,
    ) -> Result<Value, ConfigError> {
        if fits(&self.0.kind) { Ok(self.0) } else { Err(unlike(&self.0.kind, expected)) }
    }
}

fn is_integer(kind: &ValueKind) -> bool {
    use ValueKind::{I64, I128, U64, U128};
    matches!(kind, I64(_) | I128(_) | U64(_) | U128(_))
}

fn is_text(kind: &ValueKind, reads: impl Fn(&str) -> bool) -> bool {
    matches!(kind, ValueKind::String(text) if reads(text))
}

/// That something else was found than what is due.
fn unlike(kind: &ValueKind, expected: &str) -> ConfigError {
    let found = match kind {
        ValueKind::Nil => Unexpected::Unit,
        ValueKind::Boolean(value) => Unexpected::Bool(*value),
        ValueKind::I64(value) => Unexpected::Signed(*value),
        ValueKind::U64(value) => Unexpected::Unsigned(*value),
        ValueKind::I128(_) | ValueKind::U128(_) => Unexpected::Other("a large integer"),
        ValueKind::Float(value) => Unexpected::Float(*value),
        ValueKind::String(text) => Unexpected::Str(text),
        ValueKind::Array(_) => Unexpected::Seq,
        ValueKind::Table(_) => Unexpected::Map,
    };
    // The type has a function of its own by this name.
    <ConfigError as Error>::invalid_type(found, &expected)
}

/// Reads a number once it is known to be one.
macro_rules! read_as {
    ($kind:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
            self.$kind()?.$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Strict {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.0.kind {
            ValueKind::Array(values) => {
                visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(Strict)))
            }
            ValueKind::Table(table) => {
                let pair =
                    |(key, value): (String, Value)| (Strict(Value::new(None, key)), Strict(value));
                visitor.visit_map(MapDeserializer::new(table.into_iter().map(pair)))
            }
            _ => self.0.deserialize_any(visitor),
        }
    }

    read_as! { boolean: deserialize_bool }
    read_as! { integer:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }
    read_as! { number: deserialize_f32 deserialize_f64 }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.0.deserialize_str(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.0.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.0.kind {
            ValueKind::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    /// The crate's own error does not name the words that are allowed.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        match self.0.kind {
            ValueKind::String(word) => visitor.visit_enum(StringDeserializer::new(word)),
            ValueKind::Table(_) => self.0.deserialize_enum(name, variants, visitor),
            other => Err(unlike(&other, &format!("one of the words {}", variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        char seq bytes byte_buf map struct unit
        identifier ignored_any unit_struct tuple_struct tuple
    }
}

impl<'de> IntoDeserializer<'de, ConfigError> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
