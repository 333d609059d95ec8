//! What a look at the surroundings found: one line for each thing that was looked at. Pure.
//!
//! ```
//! use claimgate::findings::{Finding, Grade};
//!
//! let refused = Err("connection refused; kafka.bootstrap_servers".to_owned());
//! assert_eq!(Finding::of("Kafka", refused).grade, Grade::Wrong);
//! ```

use std::fmt;

/// How it is with the thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// Well.
    Ok,
    /// The worker can work, and somebody should know.
    Warning,
    /// The worker cannot work, or would lose something.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub grade: Grade,
    /// Which thing: `Kafka`, `risk.captcha_check`.
    pub what: String,
    /// One sentence; where something is wrong it names the key to change.
    pub words: String,
}

impl Finding {
    /// All is well with it.
    pub fn ok(what: impl Into<String>, words: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, what: what.into(), words: words.into() }
    }

    /// Somebody should know.
    pub fn warning(what: impl Into<String>, words: impl Into<String>) -> Self {
        Self { grade: Grade::Warning, what: what.into(), words: words.into() }
    }

    /// The worker cannot work so.
    pub fn wrong(what: impl Into<String>, words: impl Into<String>) -> Self {
        Self { grade: Grade::Wrong, what: what.into(), words: words.into() }
    }

    /// Well, or wrong in these words.
    pub fn of(what: impl Into<String>, result: Result<String, String>) -> Self {
        match result {
            Ok(words) => Self::ok(what, words),
            Err(words) => Self::wrong(what, words),
        }
    }
}

impl fmt::Display for Finding {
    /// One line: what others said may have several.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Ok => "ok   ",
            Grade::Warning => "warn ",
            Grade::Wrong => "WRONG",
        };
        let words: Vec<&str> = self.words.split_whitespace().collect();
        write!(f, "{grade} {}: {}", self.what, words.join(" "))
    }
}
