//! `[postgres]`: where the database is and how long the worker waits for it.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::outbox::StoreError;

/// The section `[postgres]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `postgres://user:password@host:5432/database`; required. A secret: it carries the
    /// password. Without an `sslmode` a server on another machine has to prove who it is.
    pub url: Option<SecretString>,
    /// Connections at once. Beyond that, a caller waits for up to `connect_timeout`.
    pub max_connections: u32,
    /// How long to wait for a connection, new or from the pool.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long the server may take over one statement. At the bound the batch is rolled back and
    /// tried again.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// Whether `claimgate run` applies the migrations that are missing.
    pub migrate: bool,
    /// Keys that encrypt payloads, requests and answers: 64 hex digits each, commas between. The
    /// first encrypts, all decrypt; empty: they are kept in clear.
    pub evidence_keys: SecretString,
    /// Whose statements these are.
    #[serde(skip)]
    pub caller: Caller,
}

/// Whose statements run in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caller {
    /// The worker's: the same few, again and again.
    #[default]
    Worker,
    /// An auditor's or an operator's: each once.
    Person,
    /// The status page's: they only read, and may not take long.
    Viewer,
}

impl Caller {
    /// The key that bounds a statement: an error names it as the one to raise. A viewer's has none.
    pub(super) fn timeout_key(self) -> Option<&'static str> {
        match self {
            Self::Worker => Some("postgres.statement_timeout"),
            Self::Person => Some("audit.statement_timeout"),
            Self::Viewer => None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            max_connections: 4,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            migrate: true,
            evidence_keys: SecretString::default(),
            caller: Caller::Worker,
        }
    }
}

impl Settings {
    /// The settings of a database at `url`, everything else by default.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(SecretString::from(url.into())), ..Self::default() }
    }

    /// What to connect with.
    pub(super) fn connect_options(&self) -> Result<PgConnectOptions, StoreError> {
        if self.max_connections == 0 {
            return Err(StoreError::Fatal(
                "`postgres.max_connections` is 0: the worker needs at least one".to_owned(),
            ));
        }
        if self.statement_timeout.as_millis() == 0 {
            return Err(StoreError::Fatal(format!(
                "`{}` is 0: statements need a bound",
                self.caller.timeout_key().unwrap_or_default()
            )));
        }
        let url =
            self.url.as_ref().map(|url| url.expose_secret().trim()).filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| {
            StoreError::Fatal("`postgres.url` is missing: where is the database?".to_owned())
        })?;
        // The parser takes any scheme. Its own words are left out: they could quote the password.
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options =
            PgConnectOptions::from_str(url).ok().filter(|_| is_postgres).ok_or_else(|| {
                StoreError::Fatal(
                    "`postgres.url` is not a PostgreSQL URL: postgres://user@host:5432/database"
                        .to_owned(),
                )
            })?;
        let options = if says_sslmode(url) || is_local(&options) {
            options
        } else {
            options.ssl_mode(PgSslMode::VerifyFull)
        };
        // A pooler takes no setting in the start-up packet but the commonest: `session` makes the
        // others. Statements are not logged: each line would carry the whole SQL, a dozen a batch
        // while the server is slow.
        Ok(options
            .application_name("claimgate")
            .extra_float_digits(None)
            .disable_statement_logging())
    }
}

/// Whether the URL says how the connection is protected.
fn says_sslmode(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| pair.starts_with("sslmode=") || pair.starts_with("ssl-mode="))
}

/// Whether the server is on this machine: a loopback address, or a socket in the file system.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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
            assert!(
                refusal.contains("`postgres.url`") && !refusal.contains("hunter2"),
                "{refusal}"
            );
        }
        assert!(
            !format!("{:?}", Settings::at("postgres://user:hunter2@host/db")).contains("hunter2")
        );
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
    fn a_statement_has_a_bound() {
        let endless =
            Settings { statement_timeout: Duration::ZERO, ..Settings::at("postgres://host/db") };
        assert!(refusal(&endless).contains("`postgres.statement_timeout`"));
    }

    #[test]
    fn a_remote_server_is_verified_unless_the_url_says_otherwise() {
        let mode =
            |url: &str| Settings::at(url).connect_options().expect("a good URL").get_ssl_mode();
        for url in [
            "postgres://db.example/claims",
            "postgres://10.0.0.7/claims",
            "postgres://u:p%3Fsslmode=disable@db.example/claims?application_name=x",
            "postgres://[2001:db8::1]/claims",
            "postgres://localhost.example/claims",
        ] {
            assert!(matches!(mode(url), PgSslMode::VerifyFull), "{url}: {:?}", mode(url));
        }
        for url in [
            "postgres://127.0.0.1/claims",
            "postgres://[::1]/claims",
            "postgres://localhost:1/claims",
        ] {
            assert!(matches!(mode(url), PgSslMode::Prefer), "{url}: {:?}", mode(url));
        }
        assert!(matches!(mode("postgres://db.example/claims?sslmode=disable"), PgSslMode::Disable));
        assert!(matches!(
            mode("postgres://db.example/claims?a=b&ssl-mode=require"),
            PgSslMode::Require
        ));
    }
}
