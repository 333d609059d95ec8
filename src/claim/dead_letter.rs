//! Why an event is no claim.

use crate::words::words;

words! {
    /// What is wrong with an event that becomes a dead letter (`docs/dead-letters.md`): the value
    /// of `dead_letters.error`, of the header `claimgate-error` and of a metric label.
    pub enum EventError {
        Tombstone = "tombstone": "It has no payload.",
        TooLarge = "too_large": "It is larger than `kafka.max_event_bytes`.",
        NotUtf8 = "not_utf8": "It is no UTF-8.",
        NotJson = "not_json": "It is no JSON.",
        NotAnObject = "not_an_object": "It is JSON, and no object.",
        MissingField = "missing_field": "A required field is absent, null or empty.",
        DuplicateField = "duplicate_field": "A field is there twice.",
        WrongType = "wrong_type": "A field is of another type.",
        OutOfRange = "out_of_range": "A value is outside its range.",
        InvalidValue = "invalid_value": "A value is within its range and cannot be taken.",
        UnknownKind = "unknown_kind": "No risk API serves its kind.",
        ClaimIdConflict = "claim_id_conflict": "Its claim id belongs to a claim with other content.",
        Unrecordable = "unrecordable": "PostgreSQL refuses its row, or that of an attempt.",
    }
}

/// Why an event is no claim. The dead letter has these words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {detail}")]
pub struct DeadLetterReason {
    /// What is wrong.
    pub error: EventError,
    /// The path of the field at fault, such as `account.id`.
    pub field: Option<String>,
    /// One sentence for people. It is stored unencrypted, so it holds no values of the event except
    /// its claim id and its kind.
    pub detail: String,
}

/// The longest [`DeadLetterReason::detail`], in characters.
const DETAIL_MAX_CHARS: usize = 2_000;

impl DeadLetterReason {
    /// A fault of one field.
    pub fn field(error: EventError, field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::event(error, detail) }
    }

    /// A fault of the event as a whole.
    pub fn event(error: EventError, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(DETAIL_MAX_CHARS) {
            detail.truncate(end);
        }
        Self { error, field: None, detail }
    }

    /// An event of `bytes` bytes, while `kafka.max_event_bytes` is `max_bytes`.
    pub fn too_large(bytes: usize, max_bytes: usize) -> Self {
        let detail = format!("{bytes} bytes are more than the {max_bytes} that an event may have");
        Self::event(EventError::TooLarge, detail)
    }

    /// A required field that is absent, null or empty.
    pub fn missing(field: &str) -> Self {
        Self::field(EventError::MissingField, field, format!("`{field}` is required"))
    }
}

/// The value of a required field.
///
/// # Errors
/// [`EventError::MissingField`].
pub fn required<T>(field: &str, value: Option<T>) -> Result<T, DeadLetterReason> {
    value.ok_or_else(|| DeadLetterReason::missing(field))
}
