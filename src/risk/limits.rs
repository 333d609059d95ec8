//! How many calls an API gets, as the configuration says it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// How many calls at once an API gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(u32),
    /// As many as it does best with, which the worker finds out: `"auto"`.
    Auto,
}

impl<'de> Deserialize<'de> for Concurrency {
    /// From text, for that is what a number from the environment is.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let problem = |_| D::Error::custom("this must be a number of calls, or \"auto\"");
        text.parse().map(Self::Fixed).map_err(problem)
    }
}

/// Whose bound a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each worker's own.
    Worker,
    /// That of all workers of the consumer group together: each uses the share that its partitions
    /// of the input topic are of all its partitions, so that no coordinator is needed.
    Group,
}
