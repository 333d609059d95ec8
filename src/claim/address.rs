//! The client's address: one, without a port.
//!
//! Pure. The risk APIs say whether an address is public, and what they think of a text that is no
//! address (risk type "not a public address"). A text that is refused here would be sent, billed
//! and misread.

use super::{DeadLetterReason, EventError};

/// The field that this file checks.
const FIELD: &str = "client.ip";

/// The address without the blanks around it; `None` if nothing is left.
///
/// # Errors
/// [`DeadLetterReason`]: several addresses, a port, a zone, a network.
pub(super) fn read(text: &str) -> Result<Option<String>, DeadLetterReason> {
    let text = text.trim();
    let wrong = if text.contains([',', ';']) || text.contains(char::is_whitespace) {
        "it holds more than one address; give the user's own and leave the proxies out"
    } else if text.contains(['[', ']']) || text.matches(':').count() == 1 {
        "it holds a port; give the address alone, without brackets"
    } else if text.contains('%') {
        "it holds a zone, so it is not a public address; give the user's own"
    } else if text.contains('/') {
        "it is a network; give the address alone"
    } else {
        return Ok(Some(text.to_owned()).filter(|text| !text.is_empty()));
    };
    Err(DeadLetterReason::field(EventError::InvalidValue, FIELD, wrong))
}
