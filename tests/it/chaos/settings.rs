//! The settings of a run from the environment, and the settings of its workers.

use std::time::Duration;

use super::super::cluster::BROKERS;
use super::plan::Size;

/// The records that a worker takes on at once: at most this many calls are lost with it.
pub(super) const MAX_IN_FLIGHT: usize = 200;
/// How long a risk API's call may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a worker drains.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// A worker that is silent for this long loses its partitions; [`super::super::lab`] configures it.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// A run, as the environment asks for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) size: Size,
    /// Claims a second.
    pub(super) rate: usize,
    /// After this time nothing more is sent and nothing more breaks.
    pub(super) cap: Duration,
    /// Whether this run was requested: then it must not be left out.
    pub(super) asked_for: bool,
}

impl Settings {
    /// `CHAOS_SEED`, `CHAOS_CLAIMS`, `CHAOS_KILLS`, `CHAOS_RATE`, `CHAOS_MINUTES`, `CHAOS_BROKERS`
    /// (1 or 3) and `CHAOS_STANDBY` (0 or 1).
    pub(super) fn from_environment() -> Self {
        let number = |key: &str| {
            let text = std::env::var(key).ok().filter(|text| !text.trim().is_empty())?;
            Some(
                text.trim()
                    .parse::<u64>()
                    .unwrap_or_else(|error| panic!("{key}={text:?}: {error}")),
            )
        };
        let count = |key, default: usize| number(key).map_or(default, |number| number as usize);
        let brokers = count("CHAOS_BROKERS", 1);
        assert!([1, BROKERS].contains(&brokers), "CHAOS_BROKERS={brokers}: it is 1 or {BROKERS}");
        let size = Size {
            claims: count("CHAOS_CLAIMS", 3_000).max(100),
            kills: count("CHAOS_KILLS", 6),
            cluster: brokers == BROKERS,
            standby: count("CHAOS_STANDBY", 0) > 0,
        };
        Self {
            seed: number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..)),
            size,
            rate: count("CHAOS_RATE", 75).max(1),
            cap: Duration::from_secs(60 * number("CHAOS_MINUTES").unwrap_or(10)),
            asked_for: number("CHAOS_CLAIMS").is_some(),
        }
    }

    /// Three brokers and a standby, as small as it can be.
    pub(super) fn of_a_small_cluster() -> Self {
        let size = Size { claims: 2_000, kills: 4, cluster: true, standby: true };
        let seed = fastrand::u64(..);
        Self { seed, size, rate: 75, cap: Duration::from_secs(180), asked_for: false }
    }

    /// The command that repeats the run.
    pub(super) fn command(&self) -> String {
        let Size { claims, kills, cluster, standby } = self.size;
        let mut command = format!(
            "make chaos SEED={} CLAIMS={claims} KILLS={kills} RATE={}",
            self.seed, self.rate
        );
        if cluster {
            command += &format!(" BROKERS={BROKERS}");
        }
        if standby {
            command += " STANDBY=1";
        }
        command
    }
}

/// A worker's own settings; the simulator knows its calls by `caller`.
pub(super) fn worker(simulator: &str, caller: &str) -> String {
    let url = format!("{simulator}/caller/{caller}");
    let mut text = format!(
        r#"
[worker]
max_in_flight = {MAX_IN_FLIGHT}
drain_timeout = "{drain}s"
[retry]
initial_interval = "50ms"
max_interval = "300ms"
in_process_for = "1500ms"
defer_interval = "2s"
defer_max_interval = "8s"
[retry.budget]
per_second = 50.0
# A claim of which nobody but itself is left probes its API once in this time: twenty probes, where
# the API fails it twenty times.
[breaker]
open_max = "1s"
access_denied_for = "2s"
access_denied_max = "2s"
[wechat]
base_url = "{url}"
"#,
        drain = DRAIN_TIMEOUT.as_secs()
    );
    for api in ["intelligent_qr_code", "mini_program", "captcha_query", "captcha_check"] {
        text += &format!(
            "[risk.{api}]\nbase_url = \"{url}\"\ntimeout = \"{}ms\"\n",
            CALL_TIMEOUT.as_millis()
        );
    }
    // Of captcha_check: the claims are of 2021.
    text += "ticket_lifetime = \"100years\"\n";
    for api in ["wechat_marketing", "wechat_account"] {
        text += &format!("[risk.{api}]\ntimeout = \"{}ms\"\n", CALL_TIMEOUT.as_millis());
    }
    text
}
