//! Random faults: how much of what goes wrong, per API. Pure: a draw is a function of the settings
//! and a key, and the key is made of seed, API, account and the number of the account's call, so
//! that a run repeats itself whatever the order in which its calls arrive.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api::Api;
use super::script::Shape;

/// The faults of every API: `{"all": {"transient": 0.02}, "apis": {"wechat_account": {"down":
/// true}}}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Holds for each API that `apis` does not name.
    pub all: ApiFaults,
    /// What holds for one API instead of `all`.
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
    /// The codes that `transient` draws from; empty: the API's own.
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
    /// Always so many milliseconds.
    Fixed(f64),
    /// Milliseconds, evenly spread from the one to the other.
    Uniform(f64, f64),
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

const MALFORMED: [Shape; 5] =
    [Shape::Html, Shape::Truncated, Shape::InnerTruncated, Shape::Empty, Shape::NoLevel];

/// What a draw brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Code(i64),
    Status(u16, Option<u64>),
    Hang,
    Reset,
    Malformed(Shape),
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
    fn rates(&self) -> [f64; 6] {
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
            _ => Ok(()),
        }
    }

    /// What happens to the call with this key, and how long it takes.
    pub(super) fn draw(&self, api: Api, key: u64) -> (Fault, Duration) {
        let mut random = fastrand::Rng::with_seed(key);
        let mut ahead = random.f64();
        let kind = self.rates().into_iter().position(|rate| {
            ahead -= rate;
            ahead < 0.0
        });
        let fault = match kind {
            None => Fault::None,
            Some(0) => {
                let own = api.transient_codes();
                let codes =
                    if self.transient_codes.is_empty() { own } else { &self.transient_codes };
                Fault::Code(codes[random.usize(..codes.len())])
            }
            Some(1) => Fault::Status([500, 502, 503, 504][random.usize(..4)], None),
            Some(2) => Fault::Status(429, Some(self.retry_after)),
            Some(3) => Fault::Hang,
            Some(4) => Fault::Reset,
            Some(_) => Fault::Malformed(MALFORMED[random.usize(..MALFORMED.len())]),
        };
        (fault, self.latency.draw(&mut random))
    }
}

impl Latency {
    fn draw(self, random: &mut fastrand::Rng) -> Duration {
        let ms = match self {
            Self::None => return Duration::ZERO,
            Self::Fixed(ms) => ms,
            Self::Uniform(low, high) => low + (high - low) * random.f64(),
        };
        Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_a_function_of_its_key_and_keeps_its_rates() {
        let faults = ApiFaults {
            transient: 0.2,
            reset: 0.1,
            latency: Latency::Uniform(5.0, 9.0),
            ..ApiFaults::default()
        };
        let api = Api::CaptchaCheck;
        let draws: Vec<_> = (0..10_000_u64)
            .map(|key| faults.draw(api, key.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let share =
            |kind: fn(&Fault) -> bool| draws.iter().filter(|(fault, _)| kind(fault)).count();
        assert!(share(|fault| matches!(fault, Fault::Code(_))).abs_diff(2000) < 200);
        assert!(share(|fault| *fault == Fault::Reset).abs_diff(1000) < 150);
        assert!(share(|fault| *fault == Fault::None).abs_diff(7000) < 300);
        assert!(draws.iter().all(|(_, latency)| (5..=9).contains(&latency.as_millis())));
        assert!(
            draws.iter().all(|(fault, _)| *fault != Fault::Code(5100)),
            "5100 is final for this API"
        );
        assert_eq!(faults.draw(api, 7), faults.draw(api, 7));
    }

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
        assert!(
            all(ApiFaults { latency: Latency::Fixed(-1.0), ..ApiFaults::default() })
                .check()
                .is_err()
        );
    }
}
