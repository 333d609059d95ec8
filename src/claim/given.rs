//! What "not given" means in an event.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, Visitor};

use super::fault::Fault;

/// Whole numbers up to here are exact in a JSON number with a fraction.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

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
            read(value)
        }
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Option<T>, E> {
            read(value)
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Option<T>, E> {
            read(value)
        }
        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Option<T>, E> {
            // 1795635600.0 is a whole number, as in JSON Schema; some languages write no other
            // form.
            if value.fract() == 0.0
                && value.abs() <= WHOLE_MAX
                && let Ok(whole) = format!("{value:.0}").parse::<i64>()
            {
                return read(whole);
            }
            read(value)
        }
        fn visit_str<E: de::Error>(self, value: &str) -> Result<Option<T>, E> {
            if value.is_empty() { Ok(None) } else { read(value) }
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Given(PhantomData))
}

/// Reads one value. The error does not contain the value.
fn read<'de, T: Deserialize<'de>, E: de::Error>(
    value: impl IntoDeserializer<'de, Fault>,
) -> Result<Option<T>, E> {
    T::deserialize(value.into_deserializer()).map(Some).map_err(E::custom)
}
