//! `claimgate status`: asks workers and prints the report; with `--watch` again and again.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use clap::{Args, ValueEnum};
use time::OffsetDateTime;

use super::addresses;
use super::asked::Asker;
use super::report::{End, StatusReport};
use crate::audit::shown::printable_json;

/// The time between the two answers that rates are computed from.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time between two screens.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Show the state of running workers: readiness, rates, risk APIs, failures
///
/// Exit code 0: all are ready; 1: some could not be asked; 4: something is wrong, such as a worker
/// that is not ready or an open breaker.
#[derive(Debug, Args)]
pub struct StatusCommand {
    /// The address of a worker, such as http://127.0.0.1:9464; once for each worker. By default
    /// http.listen of this configuration
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Form,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Tables for a terminal
    #[default]
    Text,
    /// One JSON document; with --watch one a line
    Json,
}

/// Why workers were not asked, or why the answer was not printed.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// No worker is named, or none can be asked.
    #[error("{0}")]
    Usage(String),
    /// The answer could not be written.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl StatusCommand {
    /// Whether it needs the address of the configured worker.
    pub fn needs_listener(&self) -> bool {
        self.urls.is_empty()
    }

    /// Asks every worker twice and prints what that says; with `--watch` again and again, until
    /// Ctrl-C. `listen` is `http.listen`.
    ///
    /// # Errors
    /// [`StatusError`].
    pub async fn run(self, listen: &str, out: &mut impl Write) -> Result<End, StatusError> {
        let urls = match self.urls.as_slice() {
            [] => vec![addresses::of_listener(listen).map_err(StatusError::Usage)?],
            named => named.iter().map(|url| addresses::named(url)).collect(),
        };
        let asker = Asker::new().map_err(StatusError::Usage)?;
        let in_place = self.watch && self.format == Form::Text && io::stdout().is_terminal();
        let (mut before, mut pause) = (asker.ask_all(&urls).await, INTERVAL);
        loop {
            tokio::select! {
                biased;
                // If Ctrl-C cannot be handled, it ends the process as usual.
                Ok(()) = tokio::signal::ctrl_c() => return Ok(End::Well),
                () = tokio::time::sleep(pause) => {}
            }
            let after = asker.ask_all(&urls).await;
            let report = StatusReport::of(&before, &after, OffsetDateTime::now_utc());
            self.print(&report, in_place, out)?;
            if !self.watch {
                return Ok(report.end());
            }
            (before, pause) = (after, WATCH_INTERVAL);
        }
    }

    fn print(&self, report: &StatusReport, in_place: bool, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Form::Json => {
                let json = match self.watch {
                    true => serde_json::to_string(report)?,
                    false => serde_json::to_string_pretty(report)?,
                };
                writeln!(out, "{}", printable_json(&json))?;
            }
            Form::Text if in_place => out.write_all(over_the_last(&report.text()).as_bytes())?,
            Form::Text if self.watch => writeln!(out, "{}", report.text())?,
            Form::Text => out.write_all(report.text().as_bytes())?,
        }
        out.flush()
    }
}

/// Overwrites the last screen without a flicker: from the top, clears each line to its end, then
/// clears the rest below.
fn over_the_last(text: &str) -> String {
    format!("\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\r\n"))
}
