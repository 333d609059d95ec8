//! The report: a table for the reader, and the sentence that fails the test.

use std::fmt;
use std::time::Duration;

use super::calls::Asked;
use super::journal::{End, Story};
use super::judge::Tally;
use super::settings::Settings;
use super::settling::Settled;

/// The most faults that are shown.
const SHOWN: usize = 40;

/// The result of a run.
pub(super) struct Report {
    pub(super) settings: Settings,
    pub(super) elapsed: Duration,
    /// From a fault's end to the next decision.
    pub(super) longest: Option<(Duration, String)>,
    pub(super) completed: Settled,
    pub(super) story: Story,
    pub(super) tally: Tally,
    pub(super) asked: Asked,
    pub(super) wrong: Vec<String>,
}

impl Report {
    /// Fails if anything is wrong.
    pub(super) fn assert_clean(&self) {
        if self.wrong.is_empty() {
            return;
        }
        let shown =
            self.wrong.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
        panic!(
            "{} things are wrong; run it again with `{}`\n{shown}",
            self.wrong.len(),
            self.settings.command()
        );
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let (story, tally, asked) = (&self.story, &self.tally, &self.asked);
        let by_cause = |causes: &std::collections::BTreeMap<&str, usize>| {
            let total: usize = causes.values().sum();
            let parts: Vec<String> =
                causes.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
            if parts.is_empty() { "0".to_owned() } else { format!("{total}: {}", parts.join(", ")) }
        };
        let gave_up = |life: &&super::journal::Life| matches!(life.end, Some((_, End::GaveUp)));
        let unexplained = asked.repeated.get("unexplained").copied().unwrap_or(0);
        let repeated: usize = asked.repeated.values().sum();
        let time = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        vec![
            ("claims, unique", tally.claims.to_string()),
            ("events", tally.events.to_string()),
            (
                "of these sent again, because Kafka did not report an offset",
                tally.resent.to_string(),
            ),
            ("SIGKILLs", story.kills.to_string()),
            ("SIGSTOPs longer than the session", story.stops.to_string()),
            ("SIGTERMs", story.terminations.to_string()),
            ("broker restarts and kills", story.broker_outages.to_string()),
            ("of these SIGKILLs", story.broker_kills.to_string()),
            ("database failovers to the standby", story.promotions.to_string()),
            ("database restarts and kills", story.database_outages.to_string()),
            ("API faults", story.api_faults.to_string()),
            (
                "workers that exited with an error and were restarted",
                story.lives.iter().filter(gave_up).count().to_string(),
            ),
            ("claims deferred", tally.deferred.to_string()),
            ("dead letters", tally.dead_letters.to_string()),
            ("lost", tally.lost.to_string()),
            ("doubled", tally.doubled.to_string()),
            ("without a row", tally.unrecorded.to_string()),
            ("two verdicts", tally.two_verdicts.to_string()),
            ("API calls", asked.calls.to_string()),
            ("calls without a row", by_cause(&asked.unrecorded)),
            ("most claims whose answers one process lost", asked.most_lost_at_once.to_string()),
            ("repeated calls", by_cause(&asked.repeated)),
            ("of these explained", (repeated - unexplained).to_string()),
            ("of these after the decision was sent", asked.after_decision.to_string()),
            (
                "longest from a fault's end to the next decision",
                self.longest.as_ref().map_or_else(
                    || "none".to_owned(),
                    |(wait, what)| format!("{} ({what})", time(*wait)),
                ),
            ),
            (
                "lag 0 after the last fault",
                self.completed.after.map_or_else(|| "never".to_owned(), time),
            ),
            ("duration", time(self.elapsed)),
            ("seed", self.settings.seed.to_string()),
            ("command", format!("`{}`", self.settings.command())),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| what | how much |\n| --- | --- |")?;
        self.rows().iter().try_for_each(|(what, how_much)| writeln!(f, "| {what} | {how_much} |"))
    }
}
