//! What a failure of PostgreSQL means for the batch: try again, end, or look for the row at fault.
//!
//! [`Class::of_sqlstate`] is the whole rule and is pure. An unknown code is transient: waiting with
//! a warning loses nothing.

use sqlx::migrate::MigrateError;

use crate::outbox::StoreError;

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It may work later.
    Transient,
    /// It will not mend by itself; the text says what does.
    Fatal(&'static str),
    /// A row at fault: the others can be recorded without it.
    Data,
}

const UNKNOWN_SCHEMA: &str =
    "the schema is not the one this version needs: run `claimgate migrate`";
const NO_PERMISSION: &str = "the role lacks a right: docs/audit.md lists the grants";
const NO_LOGIN: &str = "the server refuses the login: check the user and the password in \
    `postgres.url`, and pg_hba.conf";
const NO_DATABASE: &str = "the database in `postgres.url` does not exist: create it";
pub(super) const POOLER: &str = "a pooler in transaction mode loses session settings and prepared \
     statements: use session pooling";
const TLS: &str = "a server on another machine is verified unless `postgres.url` has an sslmode: \
    docs/postgres.md has the choices";
const NO_PARTITION: &str =
    "the default partition is missing: run `claimgate migrate` on a schema as it made it";
const MIGRATION_LOCK: &str = "another worker is still migrating, or a login holds the advisory \
    lock of migrations: pg_locks and pg_stat_activity show who";
/// A lock was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
pub(super) const NO_CONNECTION: &str = "no connection within `postgres.connect_timeout`";

impl Class {
    /// Sorts an error code of the server
    /// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). `constraint`: whether
    /// the error names a constraint.
    pub(super) fn of_sqlstate(code: &str, constraint: bool) -> Self {
        match code {
            // A check violation without a constraint: no partition takes the row. No row's fault.
            "23514" if !constraint => Self::Fatal(NO_PARTITION),
            "26000" | "42P05" => Self::Fatal(POOLER),
            "42501" => Self::Fatal(NO_PERMISSION),
            "3D000" => Self::Fatal(NO_DATABASE),
            // 22 data exception, 23 integrity, 44 with check option, 54 too large, P0001 raised by
            // a trigger.
            "P0001" => Self::Data,
            _ => match code.get(..2).unwrap_or_default() {
                "22" | "23" | "44" | "54" => Self::Data,
                "28" => Self::Fatal(NO_LOGIN),
                "3F" | "42" => Self::Fatal(UNKNOWN_SCHEMA),
                // 08 connection, 25 read-only after a failover, 40 deadlock, 53 resources, 55
                // locks, 57 shutdown or timeout, …
                _ => Self::Transient,
            },
        }
    }

    fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                Self::of_sqlstate(&code, error.constraint().is_some())
            }
            sqlx::Error::Encode(_) => Self::Data,
            sqlx::Error::Configuration(_) => Self::Fatal("check `postgres.url`"),
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. } => Self::Fatal(UNKNOWN_SCHEMA),
            _ => Self::Transient,
        }
    }
}

/// A failure of a statement or a transaction.
#[derive(Debug)]
pub(super) enum Failure {
    /// The whole batch is at the same point as before.
    Store(StoreError),
    /// A row is at fault, or its table.
    Data {
        /// The server's code.
        code: String,
        /// The server's words.
        message: String,
    },
}

impl Failure {
    /// A failure at `place`, which is host, port and database and nothing secret.
    pub(super) fn new(place: &str, error: &sqlx::Error) -> Self {
        let message = describe(error);
        match Class::of(error) {
            Class::Data => Self::Data { code: code(error), message },
            Class::Transient => Self::Store(StoreError::Transient(format!("{place}: {message}"))),
            Class::Fatal(remedy) => {
                Self::Store(StoreError::Fatal(format!("{place}: {message}; {remedy}")))
            }
        }
    }

    /// The same failure, if the login was accepted before: a refusal is transient then, because the
    /// new secret is on its way.
    pub(super) fn of_rotation(self, error: &sqlx::Error) -> Self {
        match self {
            Self::Store(StoreError::Fatal(said)) if code(error).starts_with("28") => {
                Self::Store(StoreError::Transient(said))
            }
            other => other,
        }
    }

    /// The failure where no row can be at fault.
    pub(super) fn into_store_error(self, place: &str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Data { message, .. } => StoreError::Fatal(format!("{place}: {message}")),
        }
    }
}

/// What went wrong while migrating.
pub(super) fn of_migration(place: &str, error: &MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(waited) if code(waited) == LOCK_NOT_AVAILABLE => {
            StoreError::Transient(format!("{place}: {}; {MIGRATION_LOCK}", describe(waited)))
        }
        MigrateError::Execute(error) => Failure::new(place, error).into_store_error(place),
        MigrateError::ExecuteMigration(error, version) => {
            let place = format!("{place}: migration {version}");
            Failure::new(&place, error).into_store_error(&place)
        }
        MigrateError::VersionMismatch(version) => {
            StoreError::Fatal(changed_migration(place, *version))
        }
        other => StoreError::Fatal(format!("{place}: {other}")),
    }
}

/// The sentence for a migration that was applied with other content.
pub(super) fn changed_migration(place: &str, version: i64) -> String {
    format!(
        "{place}: migration {version} was applied with other content than this version of \
         claimgate has; use the version that applied it"
    )
}

fn code(error: &sqlx::Error) -> String {
    let error = error.as_database_error();
    error.and_then(|error| error.code()).unwrap_or_default().into_owned()
}

/// The server's words with their code. Row data (the error's detail) is left out: it can hold what
/// must not be logged.
fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.code() {
            Some(code) => format!("{} ({code})", error.message()),
            None => error.message().to_owned(),
        },
        sqlx::Error::PoolTimedOut => NO_CONNECTION.to_owned(),
        sqlx::Error::Tls(_) => format!("{error}; {TLS}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_transient() {
        let codes = [
            "08006", "08001", "08P01", "25006", "25P02", "25P03", "40001", "40P01", "53100",
            "53200", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "58030",
            "XX000", "0A000", "99999", "", "é",
        ];
        for code in codes {
            assert_eq!(Class::of_sqlstate(code, false), Class::Transient, "{code}");
        }
    }

    #[test]
    fn what_an_operator_must_mend_is_fatal_and_says_how() {
        let cases = [
            ("42P01", "claimgate migrate"),
            ("42703", "claimgate migrate"),
            ("42883", "claimgate migrate"),
            ("3F000", "claimgate migrate"),
            ("42501", "grants"),
            ("3D000", "create it"),
            ("28P01", "password"),
            ("28000", "pg_hba.conf"),
            ("26000", "pooler"),
            ("42P05", "pooler"),
            ("23514", "partition"),
        ];
        for (code, remedy) in cases {
            match Class::of_sqlstate(code, false) {
                Class::Fatal(said) => assert!(said.contains(remedy), "{code}: {said}"),
                other => panic!("{code}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_one_row_can_cause_is_looked_for_row_by_row() {
        for code in [
            "22P05", "22021", "22008", "22003", "23502", "23505", "23514", "44000", "54000",
            "P0001",
        ] {
            assert_eq!(Class::of_sqlstate(code, true), Class::Data, "{code}");
        }
    }

    #[test]
    fn failures_below_sql_are_transient() {
        let reset = sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        for error in
            [reset, sqlx::Error::PoolTimedOut, sqlx::Error::PoolClosed, sqlx::Error::WorkerCrashed]
        {
            assert_eq!(Class::of(&error), Class::Transient, "{error}");
        }
        let Failure::Store(StoreError::Transient(said)) =
            Failure::new("PostgreSQL at db:5432/claims", &sqlx::Error::PoolTimedOut)
        else {
            panic!("transient")
        };
        assert_eq!(
            said,
            "PostgreSQL at db:5432/claims: no connection within `postgres.connect_timeout`"
        );
    }
}
