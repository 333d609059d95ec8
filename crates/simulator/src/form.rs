//! `key=value&key=value` as it comes over the wire, decoded: queries and form bodies.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// More parameters than any API accepts; a request with more is not read.
const MOST_PARAMETERS: usize = 200;

/// Decoded parameters in the order of their keys' bytes, each key once.
#[derive(Debug, Default)]
pub(super) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// Decodes a query or body. The error says in words what is wrong.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        let mut pairs = Vec::with_capacity(24);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() >= MOST_PARAMETERS {
                return Err(format!("more than {MOST_PARAMETERS} parameters"));
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = decode(key).ok_or("a parameter's name is not UTF-8")?;
            let value = decode(value).ok_or_else(|| format!("parameter {key} is not UTF-8"))?;
            pairs.push((key, value));
        }
        pairs.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        match pairs.windows(2).find(|two| two[0].0 == two[1].0) {
            Some(two) => Err(format!("parameter {} is given twice", two[0].0)),
            None => Ok(Self(pairs)),
        }
    }

    /// The value of a key that is given, perhaps empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(other, _)| other.as_ref().cmp(key)).ok()?;
        Some(self.0[index].1.as_ref())
    }

    /// Keys and values, in the order of the keys' bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

/// `+` and `%20` both are a space; a `%` that begins no escape is literal, as in the provider's
/// PHP.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().ok()?.into_owned();
    Some(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_sorted_by_bytes() {
        let form = Form::read("b=1%2B2&a=%E5%B9%BF+A%26B%20C&&Z=&q=%zz&c").unwrap();
        let pairs: Vec<_> = form.iter().collect();
        assert_eq!(pairs, [("Z", ""), ("a", "广 A&B C"), ("b", "1+2"), ("c", ""), ("q", "%zz")]);
        assert_eq!((form.get("b"), form.get("B")), (Some("1+2"), None));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert_eq!(Form::read("a=1&b=2&a=3").unwrap_err(), "parameter a is given twice");
        assert_eq!(Form::read("uid=%ff").unwrap_err(), "parameter uid is not UTF-8");
        assert!(Form::read(&"a&".repeat(100_000)).is_err());
    }
}
