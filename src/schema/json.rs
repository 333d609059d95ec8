//! Columns that hold JSON, and rows as JSON for auditors. No byte is lost, and PostgreSQL accepts
//! all of it.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::{clean, milliseconds, utc};
use crate::decision::{Reason, Source};
use crate::intake::Headers;

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

/// Reasons without NUL characters, if there were any.
pub(crate) fn clean_reasons(reasons: &[Reason]) -> Option<Vec<Reason>> {
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

/// Headers as JSON, in order: `[{"name":"a","text":"b"}]`. [`headers_from_json`] reads them.
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

/// Bytes that are a text which PostgreSQL accepts.
fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The headers as the producer sent them, from the JSON of a row. `None` if one cannot be read.
pub fn headers_from_json(kept: Value) -> Option<Headers> {
    let value = |header: KeptHeader| {
        let value = match (header.text, header.base64) {
            (Some(text), _) => Some(text.into_bytes()),
            (None, Some(base64)) => Some(BASE64_STANDARD.decode(base64).ok()?),
            (None, None) => None,
        };
        Some((header.name, value))
    };
    serde_json::from_value::<Vec<KeptHeader>>(kept).ok()?.into_iter().map(value).collect()
}

#[derive(Deserialize)]
struct KeptHeader {
    name: String,
    text: Option<String>,
    base64: Option<String>,
}

/// A source as its three columns.
#[derive(Serialize)]
#[serde(remote = "Source")]
pub(super) struct FlatSource {
    #[serde(rename = "source_topic")]
    topic: String,
    #[serde(rename = "source_partition")]
    partition: i32,
    #[serde(rename = "source_offset")]
    offset: i64,
}

/// Bytes as JSON: `{"text": …}`, or `{"base64": …}` if they are not UTF-8.
pub fn bytes_as_json<S: Serializer>(
    bytes: &Option<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(Bytes).serialize(serializer)
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match std::str::from_utf8(self.0) {
            Ok(text) => map.serialize_entry("text", text)?,
            Err(_) => map.serialize_entry("base64", &BASE64_STANDARD.encode(self.0))?,
        }
        map.end()
    }
}

/// UNIX microseconds as a point in time.
pub(super) fn micros_as_json<S: Serializer>(time: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    time::serde::rfc3339::serialize(&utc(*time), serializer)
}

/// UNIX seconds as a point in time.
pub(super) fn seconds_as_json<S: Serializer>(time: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    micros_as_json(&time.saturating_mul(1_000_000), serializer)
}

/// Microseconds as milliseconds.
pub(super) fn milliseconds_as_json<S: Serializer>(
    microseconds: &i64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(milliseconds(*microseconds))
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
    fn a_nul_character_in_a_reason_becomes_the_replacement_character() {
        assert_eq!(clean_reasons(&[Reason::new("level", Some(1), None)]), None);
        let cleaned = clean_reasons(&[Reason::new("a\0", None, Some("\0"))]).expect("changed");
        assert_eq!(cleaned, [Reason::new("a\u{fffd}", None, Some("\u{fffd}"))]);
    }

    #[test]
    fn bytes_keep_their_value_in_json() {
        let json = |bytes: &[u8]| serde_json::to_string(&Bytes(bytes)).expect("serialises");
        assert_eq!(json("红\0".as_bytes()), "{\"text\":\"红\\u0000\"}");
        assert_eq!(json(b"\xff"), r#"{"base64":"/w=="}"#);
    }

    #[test]
    fn kept_headers_come_back_in_order_with_their_bytes_and_their_absence() {
        let kept = r#"[{"name":"b","text":"红"},{"name":"a"},{"name":"b","base64":"/wA="},
            {"name":"","text":""}]"#;
        let headers =
            headers_from_json(serde_json::from_str(kept).expect("JSON")).expect("readable");
        let expected: Headers = vec![
            ("b".to_owned(), Some("红".as_bytes().to_vec())),
            ("a".to_owned(), None),
            ("b".to_owned(), Some(vec![0xff, 0])),
            (String::new(), Some(vec![])),
        ];
        assert_eq!(headers, expected);
        let garbled = serde_json::from_str(r#"[{"name":"a","base64":"?"}]"#).expect("headers");
        assert_eq!(headers_from_json(garbled), None);
    }
}
