//! Drawing a fault: what goes wrong with a call, and how long it takes.

use std::f64::consts::TAU;
use std::time::Duration;

use super::api::Api;
use super::faults::{ApiFaults, Latency};
use super::trouble::Shape;

/// 99 of 100 normal deviates are below this.
const NORMAL_P99: f64 = 2.326_348;
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

impl ApiFaults {
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
            Self::LogNormal(half, most) => {
                // Two even deviates make a normal one (Box and Muller).
                let (far, turn) = (1.0 - random.f64(), random.f64());
                let normal = (-2.0 * far.ln()).sqrt() * (TAU * turn).cos();
                half * (normal * (most / half).ln() / NORMAL_P99).exp()
            }
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
    fn a_log_normal_latency_has_its_median_and_tail() {
        let mut random = fastrand::Rng::with_seed(1);
        let draw = |_| Latency::LogNormal(100.0, 2_000.0).draw(&mut random).as_millis();
        let draws: Vec<_> = (0..10_000).map(draw).collect();
        let within = |most| draws.iter().filter(|latency| **latency <= most).count();
        assert!(within(100).abs_diff(5_000) < 200, "{}", within(100));
        assert!(within(2_000).abs_diff(9_900) < 50, "{}", within(2_000));
    }
}
