//! Captcha tickets: an API that refuses a ticket may only mean that it has expired.

use std::time::Duration;

use serde_json::json;

use super::failure_modes::calm;
use super::plan::{Act, ApiProfile, Plan, Produced};
use super::simulate;
use super::world::{NOW_MICROS, World};
use crate::decision::Decision;
use crate::intake::Partition;

/// The ticket that this claim brings is so old that a refusal may mean its age.
fn old() -> Vec<u8> {
    json!({
        "claim_id": "old", "kind": "captcha_check", "claimed_at": NOW_MICROS / 1_000_000 - 300,
        "account": {
            "type": "wechat", "id": "user", "app_id": "wx1", "registered_at": 1_436_673_889
        },
        "client": { "ip": "121.14.96.121" },
        "captcha": { "type": 8, "business_id": 7, "scene_id": 2, "ticket": "t" }
    })
    .to_string()
    .into_bytes()
}

/// The user of a claim whose partition was lost during the call was rejected.
#[test]
fn a_refusal_that_comes_too_late_does_not_reject_the_user() {
    let refuses = ApiProfile {
        slower: Duration::from_millis(300),
        code: Some(5100),
        ..ApiProfile::default()
    };
    let plan = Plan {
        events: vec![(Duration::ZERO, Partition::claims(0), Produced::Event(Some(old())))],
        api_profiles: [refuses, ApiProfile::default()],
        ..calm()
    };
    let config = World::with_tickets();
    for moment in (0..600).step_by(20).map(Duration::from_millis) {
        let plan = Plan { acts: vec![(moment, Act::Expel(0))], ..plan.clone() };
        let world = simulate(1, &plan, &config);
        let verdicts = world.store.verdicts();
        let decisions: Vec<Decision> = verdicts.values().map(|verdict| verdict.decision).collect();
        assert_eq!(decisions, [Decision::Review], "lost after {moment:?}");
    }
}
