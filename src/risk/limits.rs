//! The limits on calls of an API, as they are configured.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// How many calls at once an API gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// This number.
    Fixed(u32),
    /// The number with which the API works best, which the worker finds out: `"auto"`.
    Auto,
}

impl<'de> Deserialize<'de> for Concurrency {
    /// From text, because numbers from the environment are texts.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let problem = |_| D::Error::custom("this must be a number of calls, or \"auto\"");
        text.parse().map(Self::Fixed).map_err(problem)
    }
}

/// The scope of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each worker has the limit for itself.
    Worker,
    /// All workers of the consumer group have the limit together. A worker's share is its part of
    /// the input topic's partitions, so no coordinator is needed.
    Group,
}
