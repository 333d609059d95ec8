//! Limits: how many calls at once, and how many a second, this worker may make to an API.
//!
//! Pure: time is an argument. A limit may hold for this worker alone, or for the whole group. Of a
//! limit of the group each worker uses the part that its partitions are of all partitions
//! ([`Limit::set_share`]). The invariants, for the share in force:
//!
//! - Never more calls at once than `concurrency`.
//! - Never more calls within any second than `rate_limit` and a hundredth of it.
//!
//! Where a group has fewer permits than partitions, `concurrency` holds on average over time: a
//! worker that has a part of a permit makes a call, then pauses until the average is right. A limit
//! may also find out by itself how many calls at once the API handles best ([`Limit::adaptive`]);
//! then `concurrency` is the upper bound.
//!
//! ```
//! use claimgate::assess::limit::Limit;
//! use claimgate::assess::permit::Permit;
//!
//! let now = tokio::time::Instant::now();
//! let mut limit = Limit::new(2, None);
//! assert_eq!(limit.acquire(now), Permit::Granted);
//! assert_eq!(limit.acquire(now), Permit::Granted);
//! assert_eq!(limit.acquire(now), Permit::Full);
//! limit.release(now);
//! assert_eq!(limit.acquire(now), Permit::Granted);
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::permit::Permit;

mod adaptive;
mod rate;
mod share;

use adaptive::Adaptive;
use rate::Rate;
use share::Bounds;

/// The limit of one API.
#[derive(Debug)]
pub struct Limit {
    concurrency: usize,
    /// Whether the concurrency, and whether the rate, are the whole group's.
    of_group: (bool, bool),
    in_flight: usize,
    rate: Option<Rate>,
    adaptive: Option<Adaptive>,
    bounds: Bounds,
    /// A larger share, and from when on it holds.
    grows: Option<(Instant, Bounds)>,
    /// Since when a call is under way on a part of a permit.
    extra_since: Option<Instant>,
    extra_rests_until: Option<Instant>,
}

impl Limit {
    /// `concurrency` calls at once, `rate_limit` calls a second.
    pub fn new(concurrency: usize, rate_limit: Option<f64>) -> Self {
        Self {
            concurrency,
            of_group: (true, true),
            in_flight: 0,
            rate: rate_limit.map(Rate::new),
            adaptive: None,
            bounds: Bounds::all(concurrency),
            grows: None,
            extra_since: None,
            extra_rests_until: None,
        }
    }

    /// Says whether the concurrency, and whether the rate, hold for the whole group. A bound that
    /// does not is this worker's own, whatever its share.
    #[must_use]
    pub fn of_group(self, concurrency: bool, rate: bool) -> Self {
        Self { of_group: (concurrency, rate), ..self }
    }

    /// Lets it find out how many calls at once the API handles best, up to `concurrency`.
    #[must_use]
    pub fn adaptive(self, now: Instant) -> Self {
        let adaptive = Some(Adaptive::new(self.concurrency, now));
        Self { adaptive, ..self }
    }

    /// Sets the share to that of the partitions `held`, of `partitions`. A smaller share holds at
    /// once, a larger one from `from` on, when the calls of the partitions' former owner have
    /// ended.
    pub fn set_share(&mut self, held: &[i32], partitions: u32, now: Instant, from: Instant) {
        self.advance(now);
        let (own, part) = (
            Bounds::all(self.concurrency),
            Bounds::of_partitions(self.concurrency, held, partitions),
        );
        let (concurrency, rate) = self.of_group;
        let calls = if concurrency { part } else { own };
        let bounds = Bounds { speed: if rate { part.speed } else { own.speed }, ..calls };
        self.bounds = self.bounds.min(bounds);
        self.grows = (self.bounds != bounds).then_some((from, bounds));
        self.advance(now);
    }

    /// Asks for a permit.
    pub fn acquire(&mut self, now: Instant) -> Permit {
        let permit = self.ask(now);
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.asked(permit == Permit::Granted, self.in_flight);
        }
        permit
    }

    fn ask(&mut self, now: Instant) -> Permit {
        self.advance(now);
        let refusal = match self.permit(now) {
            Ok(extra) => {
                match self.rate.as_ref().map_or(Ok(()), |rate| rate.ready(self.bounds.speed, now)) {
                    Ok(()) => {
                        self.extra_since = self.extra_since.or_else(|| extra.then_some(now));
                        if let Some(rate) = &mut self.rate {
                            rate.take();
                        }
                        self.in_flight += 1;
                        return Permit::Granted;
                    }
                    Err(at) => at,
                }
            }
            Err(at) => at,
        };
        let grows = self.grows.map(|(from, _)| from);
        [refusal, grows].into_iter().flatten().min().map_or(Permit::Full, Permit::NotBefore)
    }

    /// Gives a permit back: the call has ended.
    pub fn release(&mut self, now: Instant) {
        self.advance(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight <= self.bounds.whole
            && let Some(since) = self.extra_since.take()
        {
            // A call on a part of a permit is followed by a pause, so that over the whole time no
            // more than that part was used.
            let used = now.duration_since(since);
            self.extra_rests_until =
                self.bounds.extra.whole_of(used).and_then(|whole| since.checked_add(whole));
        }
    }

    /// A call has ended, well or not. The caller says so before it gives the permit back.
    pub fn learn(&mut self, well: bool, took: Duration, now: Instant) {
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.ended(well, took, now);
        }
    }

    /// The API's breaker has opened.
    pub fn breaker_opened(&mut self, now: Instant) {
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.breaker_opened(now);
        }
    }

    /// How many calls at once are allowed now, apart from the worker's share.
    pub fn concurrency(&self) -> usize {
        self.adaptive.as_ref().map_or(self.concurrency, Adaptive::limit)
    }

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether there is a permit, and whether it is only a part of one; or when to look again.
    fn permit(&self, now: Instant) -> Result<bool, Option<Instant>> {
        if self.in_flight >= self.concurrency() {
            return Err(None);
        }
        if self.in_flight < self.bounds.whole {
            return Ok(false);
        }
        if self.in_flight > self.bounds.whole || self.bounds.extra.is_none() {
            return Err(None);
        }
        match self.extra_rests_until {
            Some(until) if now < until => Err(Some(until)),
            _ => Ok(true),
        }
    }

    /// Brings the limit up to this time: a larger share may hold by now.
    fn advance(&mut self, now: Instant) {
        if let Some((from, bounds)) = self.grows.filter(|(from, _)| *from <= now) {
            self.pass(from);
            self.grows = None;
            self.bounds = bounds;
            if self.in_flight <= bounds.whole {
                self.extra_since = None;
            }
        }
        self.pass(now);
    }

    fn pass(&mut self, now: Instant) {
        if let Some(rate) = &mut self.rate {
            rate.pass(self.bounds.speed, now);
        }
    }
}

#[cfg(test)]
mod tests;
