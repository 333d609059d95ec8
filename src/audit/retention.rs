//! How long the evidence is kept. Verdicts and dead letters are kept for ever; the large tables need not be.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::interval;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// The shortest retention: less is a mistake in the unit.
const SHORTEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The word for no end.
const FOREVER: &str = "forever";

/// The section `[audit.retention]`: `"forever"`, or a duration such as `"400days"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of `risk_calls`; `None` keeps them for ever.
    #[serde(deserialize_with = "kept")]
    pub risk_calls: Option<Duration>,
    /// Of `claim_events`; `None` keeps them for ever.
    #[serde(deserialize_with = "kept")]
    pub claim_events: Option<Duration>,
}

/// Drops what is past its retention and returns the names of the partitions that went. A partition goes when its youngest row
/// may be too old, so rows are kept for up to a month more. Only the owner of the tables may do this.
///
/// # Errors
/// [`StoreError`]; what was dropped before it stays dropped.
pub async fn enforce(store: &PostgresStore, retention: &Retention) -> Result<Vec<String>, StoreError> {
    let mut dropped = Vec::new();
    for (table, kept) in [("risk_calls", retention.risk_calls), ("claim_events", retention.claim_events)] {
        if let Some(kept) = kept {
            let query = sqlx::query_as("select claimgate_drop_partitions($1, now() - $2)")
                .bind(table)
                .bind(interval(kept));
            let names: Vec<(String,)> = store.fetch(query).await?;
            dropped.extend(names.into_iter().map(|(name,)| name));
        }
    }
    Ok(dropped)
}

fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == FOREVER {
        return Ok(None);
    }
    match humantime::parse_duration(&text) {
        Ok(duration) if duration >= SHORTEST => Ok(Some(duration)),
        Ok(_) => Err(serde::de::Error::custom(format!("{text:?} is less than a day"))),
        Err(_) => Err(serde::de::Error::custom(format!(
            "{text:?} is neither \"forever\" nor a duration such as \"400days\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_kept_unless_a_duration_of_days_says_otherwise() {
        let read = |json: &str| serde_json::from_str::<Retention>(json).map_err(|error| error.to_string());
        assert_eq!(read("{}"), Ok(Retention::default()));
        assert_eq!(read(r#"{"risk_calls":"forever"}"#), Ok(Retention::default()));
        let days = Duration::from_secs(400 * 86_400);
        assert_eq!(
            read(r#"{"claim_events":"400days"}"#),
            Ok(Retention { risk_calls: None, claim_events: Some(days) })
        );
        for wrong in ["400", "1h", "0s", "", "never"] {
            assert!(read(&format!(r#"{{"risk_calls":"{wrong}"}}"#)).is_err(), "{wrong}");
        }
        assert!(read(r#"{"verdicts":"1day"}"#).is_err());
    }
}
