//! The settings of every session, and the check that they hold.
//!
//! The settings are made by `set_config` after the connection is there, and read back: a pooler
//! such as PgBouncer refuses settings in the start-up packet, or is configured to ignore them, and
//! then they would silently not hold. The invariant: a connection that [`bind`] has accepted has
//! every setting that the guarantees depend on.

use std::fmt::Write;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::error::{Failure, POOLER};
use super::settings::Caller;
use crate::outbox::StoreError;

/// How often the server probes a silent client, so that what a vanished worker had locked is free
/// again within a minute. Not read back: behind a pooler or on a socket in the file system it has
/// no meaning.
const SERVER_KEEPALIVE: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// A setting's name and its value.
pub(super) type Setting = (&'static str, String);

/// The settings of a session whose statements may take this long.
pub(super) fn settings(statement_timeout: Duration, caller: Caller) -> Vec<Setting> {
    let milliseconds = |bound: Duration| format!("{}ms", bound.as_millis().min(i32::MAX as u128));
    let mut settings = vec![
        ("statement_timeout", milliseconds(statement_timeout)),
        // Shorter than the statement's, so that the message names the cause: somebody holds a lock.
        ("lock_timeout", milliseconds(statement_timeout.mul_f64(0.75))),
        ("idle_in_transaction_session_timeout", milliseconds(statement_timeout)),
        // After an insert that met the row of another worker, the batch has to see that row.
        ("default_transaction_isolation", "read committed".to_owned()),
        // A verdict must outlive a crash of the server: its decision is published next.
        ("synchronous_commit", "on".to_owned()),
        ("timezone", "UTC".to_owned()),
    ];
    settings.extend(match caller {
        // To plan a statement takes as long as to run it for a few claims. A plan made while a
        // table was small would read all of it, and be kept when it has grown: it may not.
        Caller::Worker => vec![
            ("plan_cache_mode", "force_generic_plan".to_owned()),
            ("enable_seqscan", "off".to_owned()),
        ],
        // A question is asked once, and the best plan depends on what it asks for.
        Caller::Person => vec![("plan_cache_mode", "force_custom_plan".to_owned())],
        // The same, and nothing is ever written.
        Caller::Viewer => vec![
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            ("default_transaction_read_only", "on".to_owned()),
        ],
    });
    settings
}

/// Makes the settings in this session, and sees that the next statement finds them.
pub(super) async fn bind(
    connection: &mut PgConnection,
    place: &str,
    settings: &[Setting],
) -> Result<(), Failure> {
    let keepalive = SERVER_KEEPALIVE.map(|(name, value)| (name, value.to_owned()));
    let made = calls(settings.iter().chain(&keepalive), |call, (name, value)| {
        write!(call, "set_config('{name}', '{value}', false)")
    });
    let kept = calls(settings.iter(), |call, (name, _)| write!(call, "current_setting('{name}')"));
    let made = values(connection, made).await.map_err(|error| Failure::new(place, &error))?;
    let kept = values(connection, kept).await.map_err(|error| Failure::new(place, &error))?;
    match settings.iter().zip(made).zip(kept).find(|((_, made), kept)| made != kept) {
        None => Ok(()),
        Some((((name, _), made), kept)) => Err(Failure::Store(StoreError::Fatal(format!(
            "{place}: the session setting {name} was set to {made} and is {kept}; {POOLER}"
        )))),
    }
}

/// `select f(…), f(…), …`. The texts are this program's own.
fn calls<'a>(
    settings: impl Iterator<Item = &'a Setting>,
    call: impl Fn(&mut String, &Setting) -> std::fmt::Result,
) -> String {
    let mut sql = String::from("select ");
    for (index, setting) in settings.enumerate() {
        if index > 0 {
            sql.push_str(", ");
        }
        // Writing to a text does not fail.
        call(&mut sql, setting).unwrap_or_default();
    }
    sql
}

/// The row that a statement returns. In one round trip, and without a prepared statement.
async fn values(connection: &mut PgConnection, sql: String) -> sqlx::Result<Vec<String>> {
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    (0..row.len()).map(|index| row.try_get(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_is_bounded() {
        let settings = settings(Duration::from_secs(10), Caller::Worker);
        let value = |wanted: &str| {
            settings.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
        };
        assert_eq!(value("statement_timeout"), Some("10000ms"));
        assert_eq!(value("lock_timeout"), Some("7500ms"));
        assert_eq!(value("synchronous_commit"), Some("on"));
    }
}
