//! The command line: commands and their arguments. Other modules implement the commands.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser, Subcommand};

use crate::audit::AuditCommand;
use crate::config::Config;
use crate::dead_letters::DeadLettersCommand;
use crate::policy::PolicyCommand;
use crate::service::{CheckCommand, Failure, TopicsCommand};
use crate::status::StatusCommand;
use crate::{service, telemetry};

/// Has reward claims assessed by a risk API and publishes one decision per claim.
#[derive(Debug, Parser)]
#[command(version = env!("CLAIMGATE_VERSION"), about, long_about = None, propagate_version = true)]
pub struct Cli {
    /// A configuration file. It overrides config/default.toml and config/<CLAIMGATE_ENV>.toml; the
    /// environment overrides it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the worker until SIGTERM or SIGINT
    Run,
    /// Apply the database migrations
    Migrate {
        /// Also create the database roles of the owner, the workers and people, and grant their
        /// rights
        #[arg(long)]
        roles: bool,
    },
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Check configuration and connections, and report everything that is wrong
    Check(CheckCommand),
    /// Query Postgres: how each claim was decided, and why
    Audit(AuditCommand),
    Policy(PolicyCommand),
    DeadLetters(DeadLettersCommand),
    Status(StatusCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  claimgate completions bash > \
                            /usr/share/bash-completion/completions/claimgate")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// An existing folder
        folder: PathBuf,
    },
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence for the user, and the exit code.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config.as_deref();
        match self.command {
            Command::Run => {
                let file = config;
                let config = Self::load(file)?;
                let instance = config
                    .kafka
                    .instance_id
                    .clone()
                    .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
                let telemetry = telemetry::init(&config.telemetry, &instance)
                    .map_err(|error| error.to_string())?;
                let threads = config.worker.threads;
                let work = service::run(config, &telemetry, std::future::pending());
                let result = block_on(threads, service::with_hangups(file, &telemetry, work));
                // It comes before the last log lines are sent, because it is one of them.
                let result = result.map_err(Failure::logged);
                telemetry.shutdown();
                result
            }
            Command::Migrate { roles } => {
                let config = Self::load(config)?;
                Ok(block_on(1, service::migrate(&config, roles))?)
            }
            Command::Topics(command) => block_on(1, service::topics(&Self::load(config)?, command)),
            Command::Check(command) => block_on(1, service::check(config, command)),
            Command::Audit(command) => {
                let config = Self::load(config)?;
                block_on(1, service::audit(&config, command))
            }
            Command::Policy(command) => service::policy(&Self::load(config)?, &command),
            Command::DeadLetters(command) => {
                let config = Self::load(config)?;
                block_on(1, service::dead_letters(&config, command))
            }
            Command::Status(command) => {
                // A command line that names the workers needs no configuration.
                let listen = if command.needs_listener() {
                    Self::load(config)?.http.listen
                } else {
                    String::new()
                };
                block_on(1, service::status(&listen, command))
            }
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "claimgate", &mut script);
                let written = std::io::stdout().write_all(&script);
                Ok(written.map_err(|error| format!("the script cannot be written: {error}"))?)
            }
            Command::Man { folder } => {
                let written = clap_mangen::generate_to(Self::command(), &folder);
                let place = folder.display();
                Ok(written.map_err(|error| format!("{place} takes no manual page: {error}"))?)
            }
        }
    }

    fn load(config: Option<&Path>) -> Result<Config, String> {
        Config::load(config).map_err(|error| error.to_string())
    }
}

/// Runs a future on a runtime with this many threads. With one, it is this thread, which saves
/// passing work between threads.
fn block_on<T, E: From<String>>(
    threads: usize,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = builder.worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let result = runtime.block_on(future);
    // A thread that still waits for a broker or a name server does not delay the end of the
    // process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
