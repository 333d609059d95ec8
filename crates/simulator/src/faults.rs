//! Random faults: the rate of each kind, per API. Pure: a draw is a function of the settings and a
//! key. The key consists of seed, API, account and the number of the account's call, so that a run
//! can be repeated with its calls in any order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::api::Api;

/// The faults of every API: `{"all": {"transient": 0.02}, "apis": {"wechat_account": {"down":
/// true}}}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Holds for each API that `apis` does not name.
    pub all: ApiFaults,
    /// The settings of one API, instead of `all`.
    pub apis: BTreeMap<Api, ApiFaults>,
}

/// The faults of one API. The six rates are shares of its calls and exclude each other: their sum
/// is at most 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiFaults {
    /// A transient provider code.
    pub transient: f64,
    /// HTTP 500, 502, 503 or 504.
    pub server_error: f64,
    /// HTTP 429 with `Retry-After`.
    pub too_many: f64,
    /// No answer until the client gives up.
    pub hang: f64,
    /// The connection is reset.
    pub reset: f64,
    /// A body that is no answer: HTML, half the JSON, nothing, or code 0 without a level.
    pub malformed: f64,
    /// Seconds in the `Retry-After` of a 429.
    pub retry_after: u64,
    /// The codes of `transient`; empty: the API's own.
    pub transient_codes: Vec<i64>,
    /// How long each answer takes.
    pub latency: Latency,
    /// The whole API is away: every connection that calls it is reset.
    pub down: bool,
}

/// How long answers take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// As fast as the simulator can.
    #[default]
    None,
    /// Always this many milliseconds.
    Fixed(f64),
    /// Milliseconds, evenly spread from the one to the other.
    Uniform(f64, f64),
    /// Milliseconds, log-normal: half of the answers within the first, 99 of 100 within the second.
    LogNormal(f64, f64),
}

/// Why fault settings are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{api}: {problem}")]
pub struct InvalidFaults {
    /// `all` or the API's name.
    pub api: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl Default for ApiFaults {
    fn default() -> Self {
        Self {
            transient: 0.0,
            server_error: 0.0,
            too_many: 0.0,
            hang: 0.0,
            reset: 0.0,
            malformed: 0.0,
            retry_after: 1,
            transient_codes: Vec::new(),
            latency: Latency::None,
            down: false,
        }
    }
}

impl Faults {
    /// The faults of one API.
    pub fn of(&self, api: Api) -> &ApiFaults {
        self.apis.get(&api).unwrap_or(&self.all)
    }

    /// Checks that every rate is a share and every latency a time.
    ///
    /// # Errors
    /// [`InvalidFaults`] for the first that is not.
    pub fn check(&self) -> Result<(), InvalidFaults> {
        let refuse = |api| move |problem| InvalidFaults { api, problem };
        self.all.check().map_err(refuse("all"))?;
        self.apis.iter().try_for_each(|(api, faults)| faults.check().map_err(refuse(api.name())))
    }
}

impl ApiFaults {
    pub(super) fn rates(&self) -> [f64; 6] {
        [self.transient, self.server_error, self.too_many, self.hang, self.reset, self.malformed]
    }

    fn check(&self) -> Result<(), String> {
        if let Some(rate) = self.rates().into_iter().find(|rate| !(0.0..=1.0).contains(rate)) {
            return Err(format!("a rate is a share from 0 to 1, not {rate}"));
        }
        let sum: f64 = self.rates().iter().sum();
        if sum > 1.0 + 1e-9 {
            return Err(format!("the rates add up to {sum}, which is more than 1"));
        }
        let longest = 3_600_000.0;
        match self.latency {
            Latency::Fixed(ms) if !(0.0..=longest).contains(&ms) => {
                Err(format!("a latency of {ms} ms"))
            }
            Latency::Uniform(low, high) if !(low >= 0.0 && low <= high && high <= longest) => {
                Err(format!("a latency from {low} to {high} ms"))
            }
            Latency::LogNormal(half, most) if !(half > 0.0 && half <= most && most <= longest) => {
                Err(format!("a latency of {half} ms for half of the answers, {most} ms for most"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let all = |all| Faults { all, ..Faults::default() };
        assert!(all(ApiFaults { hang: 1.0, ..ApiFaults::default() }).check().is_ok());
        assert!(all(ApiFaults { hang: 1.2, ..ApiFaults::default() }).check().is_err());
        assert!(all(ApiFaults { hang: f64::NAN, ..ApiFaults::default() }).check().is_err());
        assert!(all(ApiFaults { hang: 0.6, reset: 0.6, ..ApiFaults::default() }).check().is_err());
        assert!(
            all(ApiFaults { latency: Latency::Uniform(3.0, 2.0), ..ApiFaults::default() })
                .check()
                .is_err()
        );
        for latency in [Latency::Fixed(-1.0), Latency::LogNormal(0.0, 2.0)] {
            assert!(all(ApiFaults { latency, ..ApiFaults::default() }).check().is_err());
        }
    }
}
