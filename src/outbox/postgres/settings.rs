//! `[postgres]`: where the database is and how patient the worker is with it.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;

use crate::outbox::StoreError;

/// How often the server probes a silent client, so that what a vanished worker had locked is free again within a minute.
const SERVER_KEEPALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "30"), ("tcp_keepalives_interval", "10"), ("tcp_keepalives_count", "3")];

/// The section `[postgres]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `postgres://user:password@host:5432/database?sslmode=verify-full`; required. A secret, for it carries the password.
    pub url: Option<SecretString>,
    /// Connections at once. Beyond that, a caller waits for up to `connect_timeout`.
    pub max_connections: u32,
    /// How long to wait for a connection, new or from the pool.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long the server may take over one statement. At the bound the batch is rolled back and tried again.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// Whether `claimgate run` applies the migrations that are missing.
    pub migrate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            max_connections: 4,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            migrate: true,
        }
    }
}

impl Settings {
    /// The settings of a database at `url`, everything else by default.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(SecretString::from(url.into())), ..Self::default() }
    }

    /// What to connect with, limits and all.
    pub(super) fn connect_options(&self) -> Result<PgConnectOptions, StoreError> {
        if self.max_connections == 0 {
            return Err(StoreError::Fatal(
                "`postgres.max_connections` is 0: the worker needs at least one".to_owned(),
            ));
        }
        if self.statement_timeout.as_millis() == 0 {
            return Err(StoreError::Fatal(
                "`postgres.statement_timeout` is 0: statements need a bound".to_owned(),
            ));
        }
        let url = self.url.as_ref().map(|url| url.expose_secret().trim()).filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| {
            StoreError::Fatal("`postgres.url` is missing: where is the database?".to_owned())
        })?;
        // The parser takes any scheme; its own words are left out, for they could quote the password.
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = PgConnectOptions::from_str(url).ok().filter(|_| is_postgres).ok_or_else(|| {
            StoreError::Fatal(
                "`postgres.url` is no PostgreSQL URL: postgres://user@host:5432/database".to_owned(),
            )
        })?;
        Ok(options.application_name("claimgate").options(SERVER_KEEPALIVE).options(self.limits()))
    }

    fn limits(&self) -> [(&'static str, String); 7] {
        let milliseconds = |bound: Duration| format!("{}ms", bound.as_millis().min(i32::MAX as u128));
        [
            ("statement_timeout", milliseconds(self.statement_timeout)),
            // Shorter than the statement's, so that the message names the cause: somebody holds a lock.
            ("lock_timeout", milliseconds(self.statement_timeout.mul_f64(0.75))),
            ("idle_in_transaction_session_timeout", milliseconds(self.statement_timeout)),
            // What a batch sees after its insert must be what made the insert give way.
            ("default_transaction_isolation", "read committed".to_owned()),
            // A verdict must outlive a crash of the server, for its decision is published next.
            ("synchronous_commit", "on".to_owned()),
            // A plan made while a table was small must not be kept when it has grown; planning costs nothing beside 500 rows.
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            ("timezone", "UTC".to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &Settings) -> String {
        settings.connect_options().expect_err("must be refused").to_string()
    }

    #[test]
    fn a_missing_url_is_named() {
        assert!(refusal(&Settings::default()).contains("`postgres.url` is missing"));
        assert!(refusal(&Settings::at("")).contains("`postgres.url` is missing"));
    }

    #[test]
    fn a_url_that_is_none_does_not_quote_the_password() {
        for url in [
            "postgres://user:hunter2@host:port/db",
            "hunter2",
            "postgres://u:hunter2@[::1/db",
            "mysql://hunter2@host/db",
        ] {
            let refusal = refusal(&Settings::at(url));
            assert!(refusal.contains("`postgres.url`") && !refusal.contains("hunter2"), "{refusal}");
        }
        assert!(!format!("{:?}", Settings::at("postgres://user:hunter2@host/db")).contains("hunter2"));
    }

    #[test]
    fn a_url_names_the_server_and_the_database() {
        let options = Settings::at("postgres://somebody@db.example:6543/claims\n")
            .connect_options()
            .expect("a good URL");
        assert_eq!((options.get_host(), options.get_port()), ("db.example", 6543));
        assert_eq!(options.get_database(), Some("claims"));
    }

    #[test]
    fn every_session_is_bounded() {
        let options = Settings::at("postgres://host/db").connect_options().expect("a good URL");
        let sent = options.get_options().expect("options");
        for expected in [
            "statement_timeout=10000ms",
            "lock_timeout=7500ms",
            "synchronous_commit=on",
            "tcp_keepalives_idle=30",
        ] {
            assert!(sent.contains(expected), "{expected} in {sent}");
        }
        let endless = Settings { statement_timeout: Duration::ZERO, ..Settings::at("postgres://host/db") };
        assert!(refusal(&endless).contains("`postgres.statement_timeout`"));
    }
}
