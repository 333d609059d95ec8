//! How the worker's room for claims is shared among the risk APIs.
//!
//! Pure: time is an argument. Counts, for each API, the claims that were taken on and are not
//! decided yet. The invariants, while claims of several APIs come in:
//!
//! - Each API can always take on a guaranteed share.
//! - No API has more than half of the room.
//!
//! While the claims of only one API come in, it may have all of the room; unless they wait too long
//! for their calls, because claims of another API may then stand behind them in Kafka, unread.

use std::time::Duration;

use tokio::time::Instant;

/// How long after its last claim an API keeps its share of the room, and how long after one of its
/// claims waited too long an API has at most half of it.
const LATELY: Duration = Duration::from_secs(60);

/// Claims, and the bytes of their events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    claims: usize,
    bytes: usize,
}

/// One API's part.
#[derive(Debug, Clone, Default)]
struct Share {
    used: Amount,
    /// When its last claim came in.
    came: Option<Instant>,
    /// When one of its claims had last waited too long for a call.
    held_up: Option<Instant>,
}

/// The room, by the number of the API.
#[derive(Debug)]
pub(super) struct Room {
    max: Amount,
    shares: Vec<Share>,
}

impl Room {
    /// An empty room for this many APIs.
    pub(super) fn new(max_claims: usize, max_bytes: usize, apis: usize) -> Self {
        let max = Amount { claims: max_claims, bytes: max_bytes };
        Self { max, shares: vec![Share::default(); apis] }
    }

    /// A claim of this API came, whether there is room for it or not.
    pub(super) fn came(&mut self, api: usize, now: Instant) {
        self.shares[api].came = Some(now);
    }

    /// A claim of this API waited too long for a call.
    pub(super) fn held_up(&mut self, api: usize, now: Instant) {
        self.shares[api].held_up = Some(now);
    }

    /// A claim takes its place.
    pub(super) fn enter(&mut self, api: usize, bytes: usize) {
        let used = &mut self.shares[api].used;
        (used.claims, used.bytes) = (used.claims + 1, used.bytes + bytes);
    }

    /// A claim ended or was dropped.
    pub(super) fn leave(&mut self, api: usize, bytes: usize) {
        let used = &mut self.shares[api].used;
        (used.claims, used.bytes) =
            (used.claims.saturating_sub(1), used.bytes.saturating_sub(bytes));
    }

    /// How many claims of this API have a place.
    pub(super) fn claims(&self, api: usize) -> usize {
        self.shares[api].used.claims
    }

    /// Whether a claim may be taken on. A claim whose API is not known always may.
    pub(super) fn admits_any(&self, api: Option<usize>, now: Instant) -> bool {
        api.is_none_or(|api| self.admits(api, now))
    }

    /// Whether this API may take on one more claim.
    pub(super) fn admits(&self, api: usize, now: Instant) -> bool {
        let lately = |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) <= LATELY);
        let (before, own_and_after) = self.shares.split_at(api);
        let others = before.iter().chain(&own_and_after[1..]);
        let others: Vec<&Share> = others.filter(|other| lately(other.came)).collect();
        let Share { used: own, held_up, .. } = self.shares[api];
        let is_alone = others.is_empty() && (self.shares.len() == 1 || !lately(held_up));
        let fits = |max: usize, own: usize, of: fn(&Share) -> usize| {
            let guaranteed = (max / (2 * (others.len() + 1))).max(1);
            let taken: usize = others.iter().map(|share| of(share).max(guaranteed)).sum();
            own < guaranteed || (own < max / 2 && own + taken < max)
        };
        is_alone
            || (fits(self.max.claims, own.claims, |share| share.used.claims)
                && fits(self.max.bytes, own.bytes, |share| share.used.bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const APIS: usize = 4;

    fn fill(room: &mut Room, api: usize, now: Instant) -> usize {
        let mut taken = 0;
        while taken < 10_000 && room.admits(api, now) {
            room.enter(api, 1);
            taken += 1;
        }
        taken
    }

    #[test]
    fn an_api_whose_claims_come_alone_is_not_held_back() {
        let (mut room, now) = (Room::new(100, 1 << 20, APIS), Instant::now());
        room.came(0, now);
        assert_eq!(fill(&mut room, 0, now), 10_000, "the worker's own bound holds");
        room.came(1, now + Duration::from_secs(30));
        assert!(!room.admits(0, now + Duration::from_secs(90)));
        assert!(room.admits(0, now + Duration::from_secs(91)), "the other one is gone");
    }

    #[test]
    fn an_api_with_old_claims_leaves_room_for_an_unknown_one() {
        let (mut room, now) = (Room::new(100, 1 << 20, APIS), Instant::now());
        room.came(0, now);
        room.held_up(0, now);
        assert_eq!(fill(&mut room, 0, now), 50, "half of the room, and no more");
        assert!(room.admits(0, now + Duration::from_secs(61)), "its calls are made again");
        let mut only_one = Room::new(100, 1 << 20, 1);
        only_one.held_up(0, now);
        assert_eq!(fill(&mut only_one, 0, now), 10_000, "there is no other one");
    }

    #[test]
    fn two_apis_that_take_all_they_get_leave_the_third_its_share() {
        let (mut room, now) = (Room::new(120, 1 << 20, APIS), Instant::now());
        (0..3).for_each(|api| room.came(api, now));
        assert_eq!(fill(&mut room, 0, now), 60, "half of the room, and no more");
        assert_eq!(fill(&mut room, 1, now), 40);
        assert_eq!(fill(&mut room, 2, now), 20);
    }

    #[test]
    fn large_claims_are_weighed() {
        let (mut room, now) = (Room::new(1_000, 100, APIS), Instant::now());
        (0..2).for_each(|api| room.came(api, now));
        room.enter(0, 50);
        assert!(!room.admits(0, now) && room.admits(1, now));
        room.leave(0, 50);
        assert!(room.admits(0, now));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// In any order of events, an API below its guaranteed share is admitted, and the room as a
        /// whole is never overdrawn.
        #[test]
        fn the_guaranteed_share_is_always_free(
            max in 8..200_usize,
            steps in prop::collection::vec((0..APIS, any::<bool>()), 1..600),
        ) {
            let (mut room, now) = (Room::new(max, usize::MAX, APIS), Instant::now());
            (0..APIS).for_each(|api| room.came(api, now));
            for (api, enters) in steps {
                if enters && room.admits(api, now) {
                    room.enter(api, 1);
                } else if room.claims(api) > 0 {
                    room.leave(api, 1);
                }
                let all: usize = (0..APIS).map(|api| room.claims(api)).sum();
                prop_assert!(all <= max.max(APIS), "{all} of {max}");
                for api in 0..APIS {
                    prop_assert!(room.claims(api) >= (max / (2 * APIS)).max(1) || room.admits(api, now));
                    prop_assert!(room.claims(api) <= (max / 2).max(1));
                }
            }
        }
    }
}
