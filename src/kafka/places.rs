//! The topics that the worker reads and writes, and the partitions of those it reads.

/// Kafka's own bound on a topic's name, in characters.
const TOPIC_MAX: usize = 249;

/// Whether Kafka accepts this as the name of a topic.
pub fn is_topic_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TOPIC_MAX).contains(&name.len())
        && name.bytes().all(is_of_name)
        && !matches!(name, "." | "..")
}

/// Which of the topics that the worker reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// `kafka.input_topic`: claims as they are made.
    Claims,
    /// `kafka.retry_topic`: deferred claims.
    Retry,
}

impl Input {
    /// Its value of a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::Retry => "retry",
        }
    }
}

/// A partition of a topic that the worker reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic.
    pub input: Input,
    /// The partition's number.
    pub number: i32,
}

impl Partition {
    /// A partition of the input topic.
    pub fn claims(number: i32) -> Self {
        Self { input: Input::Claims, number }
    }

    /// Its value of a metric's label: `claims/3`.
    pub fn label(self) -> String {
        format!("{}/{}", self.input.label(), self.number)
    }

    /// A partition of the retry topic.
    pub fn retry(number: i32) -> Self {
        Self { input: Input::Retry, number }
    }
}

/// Which of the output topics a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// `kafka.output_topic`.
    Decisions,
    /// `kafka.dead_letter_topic`.
    DeadLetters,
    /// `kafka.retry_topic`.
    Retry,
}

impl Topic {
    /// Every topic, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Decisions, Self::DeadLetters, Self::Retry];

    /// Its value of a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::DeadLetters => "dead_letters",
            Self::Retry => "retry",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_name_is_as_kafka_takes_it() {
        let long = "x".repeat(TOPIC_MAX);
        for name in ["reward.claims.dead-letter", "A_1", &long] {
            assert!(is_topic_name(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "a\0", "红", &format!("{long}x")] {
            assert!(!is_topic_name(name), "{name}");
        }
    }
}
