//! The period of a question, as the command line gives it.

use std::time::Duration;

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;

use super::AuditError;
use super::report::shown::instant;

/// The end of a period without one.
const NEVER: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// A point in time, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// A point in time.
    At(OffsetDateTime),
    /// This long before now.
    Ago(Duration),
}

/// Reads a time of the command line.
pub(crate) fn parse_time(text: &str) -> Result<Time, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Time::At(at));
    }
    humantime::parse_duration(text).map(Time::Ago).map_err(|_| {
        "a time is 2021-09-30T09:34:40Z, or a span such as 2h for so long ago".to_owned()
    })
}

impl Time {
    /// The point in time that is meant.
    pub(crate) fn at(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::At(at) => at,
            // A span can be longer than PostgreSQL's times go back.
            Self::Ago(ago) => {
                let ago = ago.try_into().unwrap_or(time::Duration::MAX);
                now.saturating_sub(ago).max(OffsetDateTime::UNIX_EPOCH)
            }
        }
    }
}

/// A period that is the last day by default.
#[derive(Debug, Clone, Args)]
pub(super) struct Lately {
    /// From this time on: RFC 3339, or a span such as 2h for two hours ago
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    since: Time,
    /// Before this time: RFC 3339, or a span such as 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Time>,
}

/// A period with a required beginning.
#[derive(Debug, Clone, Args)]
pub(super) struct Since {
    /// From this time on: RFC 3339, or a span such as 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Time,
    /// Before this time: RFC 3339, or a span such as 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Time>,
}

/// A period that is all time by default.
#[derive(Debug, Clone, Args)]
pub(super) struct AnyTime {
    /// From this time on: RFC 3339, or a span such as 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Time>,
    /// Before this time: RFC 3339, or a span such as 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Time>,
}

/// From `from` on, before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub from: OffsetDateTime,
    /// The first moment after it.
    pub to: OffsetDateTime,
}

impl Lately {
    /// The period, as of `now`.
    pub(super) fn period(self, now: OffsetDateTime) -> Result<Period, AuditError> {
        AnyTime { since: Some(self.since), until: self.until }.period(now)
    }
}

impl Since {
    /// The period, as of `now`.
    pub(super) fn period(self, now: OffsetDateTime) -> Result<Period, AuditError> {
        AnyTime { since: Some(self.since), until: self.until }.period(now)
    }
}

impl AnyTime {
    /// The period, as of `now`.
    pub(super) fn period(self, now: OffsetDateTime) -> Result<Period, AuditError> {
        let from = self.since.map_or(OffsetDateTime::UNIX_EPOCH, |since| since.at(now));
        let to = self.until.map_or(NEVER, |until| until.at(now));
        Period::new(from, to).map_err(AuditError::Usage)
    }
}

impl Period {
    /// The period between two times of the command line.
    ///
    /// # Errors
    /// One sentence: the period is empty.
    pub(crate) fn new(from: OffsetDateTime, to: OffsetDateTime) -> Result<Self, String> {
        if from < to {
            return Ok(Self { from, to });
        }
        let [from, to] = [from, to].map(instant);
        Err(format!(
            "the period is empty, for it begins {from} and ends {to}: check --since and --until"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

    #[test]
    fn a_time_is_a_point_or_a_span() {
        let at = |text| parse_time(text).map(|time| time.at(NOW));
        assert_eq!(at("2h"), Ok(datetime!(2026-03-01 10:00 UTC)));
        assert_eq!(at("2021-09-30T17:34:40+08:00"), Ok(datetime!(2021-09-30 09:34:40 UTC)));
        assert_eq!(at("9999years"), Ok(OffsetDateTime::UNIX_EPOCH));
        for wrong in ["", "yesterday", "-2h", "2026-03-01"] {
            assert!(at(wrong).is_err_and(|said| said.contains("2h")), "{wrong}");
        }
    }

    #[test]
    fn a_period_has_a_beginning_before_its_end() {
        let period = |since, until| {
            let time = |text| parse_time(text).expect("a time");
            let (since, until): (Option<_>, Option<_>) = (since, until);
            AnyTime { since: since.map(time), until: until.map(time) }.period(NOW)
        };
        let all = Period { from: OffsetDateTime::UNIX_EPOCH, to: NEVER };
        assert_eq!(period(None, None).ok(), Some(all));
        let hour =
            Period { from: datetime!(2026-03-01 10:00 UTC), to: datetime!(2026-03-01 11:00 UTC) };
        assert_eq!(period(Some("2h"), Some("1h")).ok(), Some(hour));
        let wrong = period(Some("1h"), Some("2h")).expect_err("it ends before it begins");
        assert!(wrong.to_string().contains("begins 2026-03-01T11:00:00Z"), "{wrong}");
    }
}
