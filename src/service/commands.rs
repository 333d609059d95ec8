//! The commands that are not the worker: they run once and end.

use std::fmt::Display;
use std::io::Write;

use crate::audit::{AuditCommand, AuditError, Auditor, End};
use crate::config::Config;
use crate::dead_letters::{DeadLetterError, DeadLetters, DeadLettersCommand};
use crate::outbox::postgres::PostgresStore;
use crate::status::{self, StatusCommand};

/// The exit code for an invalid command line, as in clap.
const USAGE: u8 = 2;
/// The exit code if nothing was found.
const NOTHING_FOUND: u8 = 3;
/// The exit code of `audit verify` and `audit rederive` if evidence and verdict do not agree, and
/// of `policy test` if the policy and an example do not.
pub(super) const DISAGREES: u8 = 4;
/// The exit code of `dead-letters replay` if some letters were not replayed.
const UNDONE: u8 = 4;
/// The exit code of `status` if a worker is not ready or a breaker is open.
const NOT_WELL: u8 = 4;
/// The exit code if the kept evidence does not suffice for an answer.
const UNVERIFIABLE: u8 = 5;

/// What `migrate --roles` did.
const ROLES_MADE: &str = "the roles claimgate_owner, claimgate_worker, claimgate_auditor, \
    claimgate_operator, claimgate_reviewer and claimgate_analyst have their rights";

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// One sentence for the user; `None` if a log line has said it.
    pub sentence: Option<String>,
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self::new(1, sentence)
    }
}

impl Failure {
    pub(super) fn new(code: u8, sentence: impl Into<String>) -> Self {
        Self { code, sentence: Some(sentence.into()) }
    }

    /// Why a worker ended: a log line in the usual format and destination. It is printed if the
    /// filter of log lines leaves it out.
    pub fn logged(sentence: String) -> Self {
        if !tracing::event_enabled!(target: "claimgate", tracing::Level::ERROR) {
            return sentence.into();
        }
        tracing::error!(target: "claimgate", "{sentence}");
        Self { code: 1, sentence: None }
    }
}

/// `claimgate migrate`: applies the migrations and makes the partitions of the months to come; with
/// `roles` also the roles of the owner, of workers and of people.
///
/// # Errors
/// One sentence that names the address, or what is wrong.
pub async fn migrate(config: &Config, roles: bool) -> Result<(), String> {
    let store =
        PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    let applied = store.migrate().await.map_err(|error| error.to_string())?;
    let partitions = store.ensure_partitions().await.map_err(|error| error.to_string())?;
    if roles {
        store.create_roles().await.map_err(|error| error.to_string())?;
    }
    store.close().await;
    say_migrated(&mut std::io::stdout(), applied, partitions.len(), roles)
}

/// Prints what was done, after all of it was done: an error of the output changes nothing.
fn say_migrated(
    out: &mut impl Write,
    applied: impl Display,
    partitions: usize,
    roles: bool,
) -> Result<(), String> {
    let roles = if roles { format!("{ROLES_MADE}\n") } else { String::new() };
    write!(out, "{applied} migrations applied, {partitions} partitions created\n{roles}").map_err(
        |error| format!("everything was done, but the result could not be written: {error}"),
    )
}

/// `claimgate audit …`: answers a question from the tables, on stdout.
///
/// # Errors
/// One sentence: what is wrong, or that nothing was found. The exit code tells these apart.
pub async fn audit(config: &Config, command: AuditCommand) -> Result<(), Failure> {
    let risk_apis = if command.needs_risk_apis() {
        let trial = command.trial().map(|file| Config::load(Some(file))).transpose();
        let trial = trial.map_err(|error| error.to_string())?;
        // Stored answers are read and no API is called, so no credential is needed.
        let risk_apis = trial.as_ref().unwrap_or(config).policy();
        Some(risk_apis.map_err(|error| error.to_string())?)
    } else {
        None
    };
    let store = PostgresStore::connect(&config.audit.for_questions(&config.postgres))
        .await
        .map_err(|error| error.to_string())?;
    let auditor = Auditor {
        store: &store,
        kafka: &config.kafka,
        subject_keys: &config.audit.subject_keys(),
        retention: &config.audit.retention,
        overrides: &config.audit.overrides,
        give_up_after: config.retry.give_up_after,
        risk_apis: risk_apis.as_ref().map(|(registry, policy)| (registry, policy)),
    };
    let end = command.run(auditor, &mut std::io::stdout().lock()).await;
    store.close().await;
    let end = end.map_err(|error| match error {
        AuditError::Usage(sentence) => Failure { code: USAGE, sentence: Some(sentence) },
        error => error.to_string().into(),
    })?;
    let (code, sentence) = match end {
        End::Found => return Ok(()),
        End::Nothing => (NOTHING_FOUND, "nothing was found"),
        End::Disagrees => (
            DISAGREES,
            "the stored evidence does not lead to the recorded decision; the finding says why",
        ),
        End::Unverifiable => {
            (UNVERIFIABLE, "what is stored is not enough to tell; the answer says why")
        }
    };
    Err(Failure::new(code, sentence))
}

/// `claimgate dead-letters …`: shows dead letters, or replays their events.
///
/// # Errors
/// One sentence: what is wrong, that nothing was found, or how many letters were not replayed.
pub async fn dead_letters(config: &Config, command: DeadLettersCommand) -> Result<(), Failure> {
    let store = PostgresStore::connect(&config.audit.for_questions(&config.postgres))
        .await
        .map_err(|error| error.to_string())?;
    let context = DeadLetters {
        store: &store,
        kafka: &config.kafka,
        max_replays: config.dead_letters.max_replays,
    };
    let done = command.run(context, &mut std::io::stdout().lock()).await;
    store.close().await;
    done.map_err(|error| {
        let code = match error {
            DeadLetterError::Nothing => NOTHING_FOUND,
            DeadLetterError::Undone { .. } => UNDONE,
            DeadLetterError::Usage(_) => USAGE,
            _ => Failure::from(String::new()).code,
        };
        Failure::new(code, error.to_string())
    })
}

/// `claimgate status`: shows how running workers are. `listen` is `http.listen`.
///
/// # Errors
/// One sentence: no worker is named, or it could not be asked, or something is wrong. The exit code
/// tells these apart.
pub async fn status(listen: &str, command: StatusCommand) -> Result<(), Failure> {
    let end = command.run(listen, &mut std::io::stdout().lock()).await;
    match end.map_err(|error| error.to_string())? {
        status::End::Well => Ok(()),
        status::End::Unasked => Err("not every worker could be asked".to_owned().into()),
        status::End::Wrong => {
            Err(Failure::new(NOT_WELL, "something is wrong; the lines with ! say what"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ROLES_MADE, say_migrated};
    use crate::outbox::postgres::ROLES;

    #[test]
    fn a_migration_that_nobody_reads_ends_with_a_sentence() {
        let mut out = Vec::new();
        assert_eq!(say_migrated(&mut out, 13, 8, true), Ok(()));
        let said = String::from_utf8(out).expect("text");
        assert_eq!(said, format!("13 migrations applied, 8 partitions created\n{ROLES_MADE}\n"));
        let mut full = [0_u8; 4];
        let said = say_migrated(&mut full.as_mut_slice(), 13, 8, false);
        assert!(said.is_err_and(|said| said.starts_with("everything was done")));
    }

    #[test]
    fn every_role_that_is_made_is_named() {
        let names = ROLES.split('\'').filter(|text| text.starts_with("claimgate_"));
        assert!(names.clone().count() >= 6, "the script quotes the names of its roles");
        for name in names {
            assert!(ROLES_MADE.contains(name), "{name}");
        }
    }
}
