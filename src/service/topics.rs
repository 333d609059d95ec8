//! `claimgate topics …`: creates the topics that a worker needs.

use clap::{Args, Subcommand, value_parser};
use serde::Serialize;

use super::Failure;
use super::report::{count, print};
use crate::config::Config;
use crate::findings::Severity;
use crate::kafka::Wish;

const EXAMPLE: &str = "\
Example:
  claimgate --config production.toml topics create --partitions 12 --dry-run

An existing topic is left unchanged; where it falls short, the line says how to correct it.
Exit code: 0; 1 if a topic was not created or no worker would start on it; 2 for an
invalid command line";

/// Create the topics that a worker needs
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create those of the four topics that do not exist, with the settings that they need
    #[command(after_help = EXAMPLE)]
    Create(CreateCommand),
}

/// How topics are made.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub struct CreateCommand {
    /// Partitions of a new topic, which bound the number of workers; 12 without it. The retry topic
    /// gets as many as the input topic
    #[arg(long, value_name = "N", value_parser = value_parser!(i32).range(1..))]
    #[serde(skip)]
    partitions: Option<i32>,
    /// Replicas of each partition
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(i32).range(1..=32_767))]
    #[serde(skip)]
    replication_factor: i32,
    /// Ask Kafka whether it would create them, and create none
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON, one document
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Creates the topics, and prints the result for each.
///
/// # Errors
/// One sentence: how many were not created, or would lose data. Each was printed.
pub async fn topics(config: &Config, command: TopicsCommand) -> Result<(), Failure> {
    let TopicsCommand::Create(command) = command;
    let wish = Wish {
        partitions: command.partitions,
        replicas: command.replication_factor,
        dry_run: command.dry_run,
    };
    let findings = config.kafka.create_topics(wish, config.retry.give_up_after).await;
    print(&findings, command.json.then_some(&command))?;
    match count(&findings, Severity::Wrong) {
        0 => Ok(()),
        _ => {
            Err("some topics are missing or wrong; the lines with WRONG say why".to_owned().into())
        }
    }
}
