//! Why an event is no claim.

/// Why an event is no claim. It becomes a dead letter with these words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {detail}")]
pub struct DeadLetterReason {
    /// A bounded word, fit for a metric label: `not_json`, `missing_field`, …
    pub error: &'static str,
    /// The path of the field at fault, such as `account.id`.
    pub field: Option<String>,
    /// One sentence for a person.
    pub detail: String,
}

impl DeadLetterReason {
    /// A fault of one field.
    pub fn field(error: &'static str, field: &str, detail: impl Into<String>) -> Self {
        Self { error, field: Some(field.to_owned()), detail: detail.into() }
    }

    /// A fault of the event as a whole.
    pub fn event(error: &'static str, detail: impl Into<String>) -> Self {
        Self { error, field: None, detail: detail.into() }
    }

    /// An event of so many bytes, where `kafka.max_event_bytes` is `max_bytes`.
    pub fn too_large(bytes: usize, max_bytes: usize) -> Self {
        let detail = format!("{bytes} bytes are more than the {max_bytes} that an event may have");
        Self::event("too_large", detail)
    }

    /// A required field that is absent, null or empty.
    pub fn missing(field: &str) -> Self {
        Self::field("missing_field", field, format!("`{field}` is required"))
    }
}
