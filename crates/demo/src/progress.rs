//! Shows the progress: a bar on a terminal, otherwise a line now and then.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// How often a line is printed without a terminal.
const LINE: Duration = Duration::from_secs(2);

/// What happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) sent: usize,
    pub(super) decisions: usize,
    pub(super) dead_letters: usize,
    pub(super) skipped: usize,
    pub(super) retries: usize,
    /// How often claims were sent to the retry topic.
    pub(super) deferred: usize,
}

impl Tally {
    /// Events that are done.
    pub(super) fn done(&self) -> usize {
        self.decisions + self.dead_letters + self.skipped
    }

    /// One sentence for when there is no more progress.
    pub(super) fn what_is_missing(&self, total: usize, max_wait: Duration) -> String {
        format!(
            "nothing new came for {} s: of {total} events {} were sent, and {} of these have no \
             end ({self})",
            max_wait.as_secs(),
            self.sent,
            self.sent.saturating_sub(self.done())
        )
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, decisions, dead_letters, skipped, retries, deferred } = self;
        write!(
            f,
            "{sent} in · {decisions} decided · {dead_letters} dead letters · {skipped} duplicates \
             · {retries} retries · {deferred} times deferred"
        )
    }
}

/// Shows it on stderr.
pub(super) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    last_line: Instant,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let is_terminal = stderr().is_terminal();
        let target =
            if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {bar:30} {pos}/{len}  {msg}")
        {
            bar.set_style(style);
        }
        Self { bar, is_terminal, last_line: Instant::now() }
    }

    pub(super) fn show(&mut self, tally: &Tally) {
        self.bar.set_position(tally.done() as u64);
        self.bar.set_message(tally.to_string());
        if !self.is_terminal && self.last_line.elapsed() >= LINE {
            eprintln!("{tally}");
            self.last_line = Instant::now();
        }
    }

    /// Prints a line above the bar.
    pub(super) fn speaker(&self) -> impl Fn(String) + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |line| bar.suspend(|| println!("{line}"))
    }

    pub(super) fn finish(&mut self, tally: &Tally) {
        self.show(tally);
        self.bar.abandon();
        if !self.is_terminal {
            eprintln!("{tally}");
        }
    }
}

impl Drop for Progress {
    /// An error must not be written behind the bar.
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.abandon();
        }
    }
}
