//! How a dead letter is named: by the place of its event and, if several events had that place one
//! after the other, also by a hash of its content.
//!
//! Pure. A topic that was deleted and created again, or moved to another cluster, counts from 0
//! again: the place alone does not identify an event.

use std::fmt;

use crate::audit::source::parse_source;
use crate::decision::Source;
use crate::schema::LetterId;

/// What a person names: a dead letter, or a place at which there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) source: Source,
    pub(super) content: Option<String>,
}

impl Address {
    /// Whether it names this dead letter.
    pub(super) fn names(&self, letter: &LetterId) -> bool {
        self.source == letter.source
            && self.content.as_ref().is_none_or(|content| *content == letter.content)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Some(content) => write!(f, "{}@{content}", self.source),
            None => self.source.fmt(f),
        }
    }
}

/// Reads `topic/partition/offset` or `topic/partition/offset@content`.
pub(super) fn parse_address(text: &str) -> Result<Address, String> {
    let (place, content) = match text.rsplit_once('@') {
        Some((place, content)) => (place, Some(content.to_owned())),
        None => (text, None),
    };
    if content.as_ref().is_some_and(String::is_empty) {
        return Err("after the @ comes a letter's content, as `list` prints it".to_owned());
    }
    Ok(Address { source: parse_source(place)?, content })
}

/// Parses the text form of a [`LetterId`].
pub(super) fn parse_letter(text: &str) -> Option<LetterId> {
    let Address { source, content } = parse_address(text).ok()?;
    Some(LetterId { source, content: content? })
}

/// The error where a place alone names several dead letters.
pub(super) fn ambiguous<'a>(letters: impl Iterator<Item = &'a LetterId>) -> String {
    let letters: Vec<String> = letters.map(ToString::to_string).collect();
    format!(
        "{} events stood there, one after the other; name one: {}",
        letters.len(),
        letters.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_as_it_is_written() {
        let source = Source { topic: "reward.claims".to_owned(), partition: 3, offset: 8812 };
        let letter = LetterId { source: source.clone(), content: "9f86d081884c7d65".to_owned() };
        assert_eq!(parse_letter(&letter.to_string()), Some(letter.clone()));
        assert_eq!(parse_letter(&source.to_string()), None);
        let place = parse_address("reward.claims/3/8812").expect("a place");
        assert_eq!(place, Address { source, content: None });
        assert!(
            place.names(&letter)
                && parse_address(&letter.to_string()).is_ok_and(|address| address.names(&letter))
        );
        assert!(!parse_address("reward.claims/3/8812@00").expect("a letter").names(&letter));
        for wrong in ["", "reward.claims/3", "reward.claims/3/1@", "@9f86d081884c7d65"] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }
}
