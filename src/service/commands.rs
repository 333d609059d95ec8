//! The commands that look at what the worker needs, or mend it, and end.

use crate::audit::{AuditCommand, Auditor};
use crate::config::Config;
use crate::dead_letters::{DeadLetters, DeadLettersCommand};
use crate::outbox::postgres::PostgresStore;

/// `claimgate migrate`: applies the migrations and makes the partitions of the months to come.
///
/// # Errors
/// One sentence that names the address, or what is wrong.
pub async fn migrate(config: &Config) -> Result<(), String> {
    let store = PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    let applied = store.migrate().await.map_err(|error| error.to_string())?;
    let partitions = store.ensure_partitions().await.map_err(|error| error.to_string())?;
    println!("{applied} migrations applied, {} partitions made", partitions.len());
    store.close().await;
    Ok(())
}

/// `claimgate audit …`: answers a question from the record, on stdout.
///
/// # Errors
/// One sentence: what is wrong, or that nothing was found.
pub async fn audit(config: &Config, command: AuditCommand) -> Result<(), String> {
    let risk_apis = if command.needs_risk_apis() {
        Some(config.risk_apis().map_err(|error| error.to_string())?)
    } else {
        None
    };
    let store = PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    let auditor = Auditor {
        store: &store,
        subject_key: config.subject_key(),
        retention: &config.audit.retention,
        risk_apis: risk_apis.as_ref().map(|(registry, policy)| (registry, policy)),
    };
    let found =
        command.run(auditor, &mut std::io::stdout().lock()).await.map_err(|error| error.to_string())?;
    store.close().await;
    if found { Ok(()) } else { Err("nothing of the kind is in the record".to_owned()) }
}

/// `claimgate dead-letters …`: shows dead letters, or sends their events once more.
///
/// # Errors
/// One sentence: what is wrong, that nothing was found, or how much of a replay was not done.
pub async fn dead_letters(config: &Config, command: DeadLettersCommand) -> Result<(), String> {
    let store = PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    let desk =
        DeadLetters { store: &store, kafka: &config.kafka, max_replays: config.dead_letters.max_replays };
    let done = command.run(desk, &mut std::io::stdout().lock()).await.map_err(|error| error.to_string());
    store.close().await;
    done
}
