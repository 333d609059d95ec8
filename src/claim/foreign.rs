//! Recognises bytes that are no claim event, and says to the producer what they are instead.
//!
//! Pure, and only malformed events pay for it. Nothing here makes an event well-formed but
//! [`without_mark`]: a byte order mark before UTF-8 has one meaning.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The payload without the byte order mark that some producers put before UTF-8.
pub(super) fn without_mark(payload: &[u8]) -> &[u8] {
    payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload)
}

/// What the bytes are, if they are recognised, and what to do about it.
pub(super) fn format(payload: &[u8]) -> Option<String> {
    let compressed = |name: &str| {
        format!(
            "the payload is {name} data; set the producer's `compression.type` and send the JSON \
             itself"
        )
    };
    let known = match payload {
        [] => "the event is empty".to_owned(),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..] => {
            "the event is UTF-16 text; an event is UTF-8".to_owned()
        }
        [0, a, b, c, d, rest @ ..] if !rest.is_empty() => format!(
            "the event begins with the five bytes of Confluent's Schema Registry (schema {}); send \
             plain JSON, without its serializer",
            u32::from_be_bytes([*a, *b, *c, *d])
        ),
        [0x1f, 0x8b, ..] => compressed("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => compressed("zstd"),
        [0x04, 0x22, 0x4d, 0x18, ..] => compressed("lz4"),
        [b'B', b'Z', b'h', ..] => compressed("bzip2"),
        [b'O', b'b', b'j', 1, ..] => "the event is an Avro file; an event is JSON".to_owned(),
        [b'<', ..] => "the event begins like XML; an event is JSON".to_owned(),
        [b'{', b'\'', ..] => "the texts stand in single quotes; JSON has double ones".to_owned(),
        _ => return None,
    };
    Some(known)
}

/// What a JSON text is, if it is no object.
pub(super) fn no_object(text: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::String(inner)) if inner.trim_start().starts_with('{') => {
            "the event is a JSON text that holds JSON; it was encoded twice".to_owned()
        }
        Ok(serde_json::Value::Array(_)) => {
            "the event is a JSON list; send one object a message".to_owned()
        }
        _ => "the event is JSON and no object".to_owned(),
    }
}

/// The envelope around an event that has no `claim_id` of its own, and what to do about it.
pub(super) fn envelope(text: &str) -> Option<&'static str> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Object(std::collections::BTreeMap<String, IgnoredAny>);
    let keys: BTreeSet<String> = serde_json::from_str::<Object>(text).ok()?.0.into_keys().collect();
    let has = |names: &[&str]| names.iter().all(|name| keys.contains(*name));
    if has(&["schema", "payload"]) {
        Some(
            "the event is wrapped by Kafka Connect; set `value.converter.schemas.enable = false` \
             there",
        )
    } else if has(&["specversion", "data"]) {
        Some("the event is wrapped as a structured CloudEvent; send its `data` alone")
    } else if has(&["op", "after"]) {
        Some("the event is wrapped by Debezium; send its `after` alone")
    } else {
        None
    }
}
