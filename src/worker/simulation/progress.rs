//! A worker makes progress, and stops on request, with any amount of waiting work.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure_modes::calm;
use super::plan::{Act, ApiProfile, Plan, Produced, claim};
use super::world::World;
use super::{play, simulate};
use crate::config::Config;
use crate::decision::Source;
use crate::intake::Partition;
use crate::intake::deferral::Deferral;
use crate::outbox::message::Topic;
use crate::testing::FaultProfile;

/// So long, and no longer, a stop takes that has nothing to wait for.
const SOON: Duration = Duration::from_secs(1);

/// A world with one worker, to which everything is sent at once.
fn world(plan: &Plan, config: Arc<Config>) -> World {
    let mut world = World::new(1, plan.clone(), config);
    for (_, partition, produced) in &plan.events {
        if let Produced::Event(payload) = produced {
            world.broker.produce(*partition, None, Vec::new(), payload.clone());
        }
    }
    world.start(0);
    world
}

/// How long the worker takes to stop.
async fn stop(world: &mut World) -> Duration {
    let told = Instant::now();
    world.stop(0).await;
    told.elapsed()
}

#[test]
fn a_stop_does_not_wait_for_the_store_where_no_api_was_asked() {
    let config = World::settings();
    let delay = Duration::from_millis(300);
    let store = FaultProfile { delay, is_away: true, ..FaultProfile::none() };
    let plan = Plan { store, ..calm() };
    for moment in (0..1_500).step_by(25) {
        let wait = play(async {
            let mut world = world(&plan, Arc::clone(&config));
            sleep(Duration::from_millis(moment)).await;
            stop(&mut world).await
        });
        assert!(wait <= SOON, "told after {moment} ms, it stops after {wait:?}");
    }
}

#[test]
fn a_stop_does_not_wait_for_batches_whose_partitions_are_gone() {
    let delay = Duration::from_millis(20);
    let broker = FaultProfile { delay, is_away: true, ..FaultProfile::none() };
    let wait = play(async {
        let mut world = world(&Plan { broker, ..calm() }, World::batches_of_one());
        sleep(Duration::from_secs(20)).await;
        assert_eq!(world.store.verdicts().len(), 10, "all are recorded, each in its batch");
        world.broker.expel("w0");
        stop(&mut world).await
    });
    assert!(wait <= SOON, "it stops after {wait:?}");
}

/// They waited for Postgres, and not for an API that has no permit for them.
#[test]
fn no_claim_is_deferred_because_the_store_was_away() {
    let slow = ApiProfile { slower: Duration::from_millis(200), ..ApiProfile::default() };
    for moment in (0..800).step_by(50) {
        let away = (Duration::from_millis(moment), Act::StoreAway(Duration::from_secs(5)));
        let plan = Plan { api_profiles: [slow, ApiProfile::default()], acts: vec![away], ..calm() };
        let world = simulate(1, &plan, &World::settings());
        let messages = world.messages().into_iter().flat_map(|(_, messages)| messages);
        let deferred = messages.filter(|message| message.topic == Topic::Retry).count();
        assert_eq!(deferred, 0, "away after {moment} ms");
    }
}

/// Each is the head of its subject's lane in its turn: the stack once was as deep as the lane.
#[test]
fn thousands_of_overdue_claims_of_one_account_are_decided_at_once() {
    const CLAIMS: i64 = 3_000;
    let denied = ApiProfile { code: Some(4100), ..ApiProfile::default() };
    let api_profiles = [denied, ApiProfile::default()];
    let still = FaultProfile::none();
    let plan = Plan {
        events: Vec::new(),
        api_profiles,
        store: still.clone(),
        broker: still,
        max_in_flight: 5_000,
        ..calm()
    };
    let decided = play(async {
        let mut world = World::new(1, plan, World::large_batches());
        for offset in 0..CLAIMS {
            let source = Source { topic: "reward.claims".to_owned(), partition: 0, offset };
            let overdue = Deferral {
                times: 9,
                first: 0,
                since: 0,
                not_before: 0,
                attempts: 0,
                unseen: 0,
                code: Some(4100),
                reason: "breaker_open".to_owned(),
                source,
                api: "intelligent_qr_code".to_owned(),
                traceparent: String::new(),
            };
            let event = claim(&format!("c{offset}"), "qr_code", "bot", "red packet");
            let headers = overdue.headers(&Vec::new());
            world.broker.produce(Partition::retry(0), None, headers, Some(event));
        }
        world.run().await;
        world.store.verdicts()
    });
    assert_eq!(i64::try_from(decided.len()), Ok(CLAIMS));
    assert!(decided.values().all(|verdict| verdict.provider_code == Some(4100)), "as was answered");
}
