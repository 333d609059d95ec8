//! Breaks and repairs brokers, database and risk APIs, as the script says.

use std::sync::Arc;

use claimgate_simulator::{ApiFaults, Faults, Latency};

use super::World;
use super::journal::{Outage, Story, now};
use super::plan::{Fault, Trouble, What};

/// A service that can be broken and repaired. Each method returns when that is done.
pub(super) trait Breakable: Send + Sync + 'static {
    /// Breaks it and repairs it.
    fn suffer(&self, what: &What, world: &World) -> Result<(), String>;

    /// The work that is left when it works again.
    fn repair(&self, what: &What) -> Result<(), String> {
        let _ = what;
        Ok(())
    }
}

/// Breaks and repairs a service, fault by fault.
pub(super) async fn break_service(
    world: Arc<World>,
    service: Arc<impl Breakable>,
    faults: Vec<Fault>,
) {
    for fault in faults {
        if !world.due(&fault).await {
            break;
        }
        let (name, what) = (fault.what.name(), Arc::new(fault.what));
        world.journal.say(&match what.down() {
            Some(down) => format!("{name}, down for {down:?}"),
            None => name.to_owned(),
        });
        let begin = now();
        let (at, its, to) = (Arc::clone(&what), Arc::clone(&service), Arc::clone(&world));
        let broken = tokio::task::spawn_blocking(move || its.suffer(&at, &to)).await;
        count(&mut world.journal.story(), &what, Outage { begin, end: now() });
        world.journal.recovered(name);
        let (at, its) = (Arc::clone(&what), Arc::clone(&service));
        let repaired = tokio::task::spawn_blocking(move || its.repair(&at)).await;
        for result in [broken, repaired] {
            if let Err(why) = result.expect("the hand lives") {
                world.journal.fault(format!("{name}: the lab could not mend what it broke: {why}"));
            }
        }
        world.done.send_modify(|done| *done += 1);
    }
}

fn count(story: &mut Story, what: &What, outage: Outage) {
    story.outages.push(outage);
    match what {
        What::BrokerRestart { .. } => story.broker_outages += 1,
        What::BrokerKill { .. } => {
            story.broker_outages += 1;
            story.broker_kills += 1;
        }
        What::Promotion { .. } => story.promotions += 1,
        _ => story.database_outages += 1,
    }
}

/// Lets the risk APIs misbehave and recover.
pub(super) async fn trouble_apis(world: Arc<World>, faults: Vec<Fault>) {
    for fault in faults {
        if !world.due(&fault).await {
            break;
        }
        let What::Apis { trouble, lasts } = fault.what else {
            unreachable!("{fault:?} is none of the APIs'")
        };
        world.journal.say(&format!("APIs: {trouble:?} for {lasts:?}"));
        if trouble == Trouble::ExpiredTokens {
            world.lab.simulator.expire_tokens();
        } else {
            world.lab.simulator.set_faults(faults_of(trouble)).expect("rates");
        }
        tokio::time::sleep(lasts).await;
        world.lab.simulator.set_faults(usual()).expect("rates");
        world.journal.story().api_faults += 1;
        world.journal.recovered(&format!("APIs: {trouble:?}"));
        world.done.send_modify(|done| *done += 1);
    }
}

/// Normal operation: every answer takes some time, and some are faults.
pub(super) fn usual() -> Faults {
    Faults { all: ordinary(), ..Faults::default() }
}

fn ordinary() -> ApiFaults {
    ApiFaults {
        latency: Latency::Uniform(5.0, 40.0),
        transient: 0.005,
        server_error: 0.002,
        reset: 0.001,
        ..ApiFaults::default()
    }
}

fn faults_of(trouble: Trouble) -> Faults {
    let all = match trouble {
        // Some answers come too late: the API has acted, but the worker does not know.
        Trouble::Slow => ApiFaults { latency: Latency::Uniform(300.0, 1_100.0), ..ordinary() },
        Trouble::ServerErrors => ApiFaults { server_error: 0.5, too_many: 0.1, ..ordinary() },
        Trouble::Hangs => ApiFaults { hang: 0.3, ..ordinary() },
        Trouble::TransientCodes => ApiFaults { transient: 0.6, ..ordinary() },
        Trouble::Garbage => ApiFaults { malformed: 0.3, reset: 0.3, ..ordinary() },
        Trouble::Dead(_) | Trouble::ExpiredTokens => ordinary(),
    };
    let dead = ApiFaults { down: true, ..ordinary() };
    let apis =
        if let Trouble::Dead(api) = trouble { [(api, dead)].into() } else { Default::default() };
    Faults { all, apis }
}
