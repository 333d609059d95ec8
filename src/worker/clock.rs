//! The time of day: the machine's, or a simulated one for tests.

use time::OffsetDateTime;
use tokio::time::Instant;

/// Where the worker takes the time of day from. Pauses and timeouts use tokio's clock.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that showed `micros` at `since`, and advances as tokio's clock does.
    Simulated {
        /// A time of tokio's clock.
        since: Instant,
        /// UNIX microseconds.
        micros: i64,
    },
}

impl Clock {
    /// UNIX milliseconds.
    pub fn millis(self) -> i64 {
        self.micros() / 1_000
    }

    /// UNIX microseconds.
    pub fn micros(self) -> i64 {
        match self {
            Self::System => saturated(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000),
            Self::Simulated { since, micros } => {
                micros.saturating_add(saturated(since.elapsed().as_micros()))
            }
        }
    }
}

fn saturated(micros: impl TryInto<i64>) -> i64 {
    micros.try_into().unwrap_or(i64::MAX)
}
