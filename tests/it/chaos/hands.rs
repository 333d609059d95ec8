//! Broker, database and risk APIs: each in a hand that breaks it when the script says so, and mends it.

use std::sync::Arc;

use claimgate::simulator::{ApiFaults, Faults, Latency};

use super::super::service::Service;
use super::World;
use super::journal::{Outage, now};
use super::plan::{Fault, Trouble, What};

/// Breaks a service and mends it.
pub(super) async fn break_service(world: Arc<World>, service: Arc<Service>, faults: Vec<Fault>) {
    for fault in faults {
        if !world.due(&fault).await {
            break;
        }
        let (name, down) = match &fault.what {
            What::BrokerRestart => ("broker restart", None),
            What::DatabaseRestart => ("database restart", None),
            What::BrokerKill { down } => ("broker SIGKILL", Some(*down)),
            What::DatabaseKill { down } => ("database kill", Some(*down)),
            other => unreachable!("{other:?} is none of a service's"),
        };
        world.journal.say(&match down {
            Some(down) => format!("{name}, down for {down:?}"),
            None => name.to_owned(),
        });
        let (begin, service) = (now(), Arc::clone(&service));
        let broken = tokio::task::spawn_blocking(move || {
            let Some(down) = down else { return service.tell("restart") };
            service.tell("kill")?;
            std::thread::sleep(down);
            // On a busy machine the first start may take too long.
            service.tell("start").or_else(|_| service.tell("start"))
        });
        if let Err(why) = broken.await.expect("the hand lives") {
            world.journal.fault(format!("{name}: the lab could not mend what it broke: {why}"));
        }
        let mut story = world.journal.story();
        story.outages.push(Outage { begin, end: now() });
        if name.starts_with("broker") {
            story.broker_outages += 1
        } else {
            story.database_outages += 1
        };
        drop(story);
        world.journal.recovered(name);
        world.done.send_modify(|done| *done += 1);
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

/// An ordinary day: every answer takes its time, and some are none.
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
        // Some of the answers come too late: the API has acted, and nobody knows.
        Trouble::Slow => ApiFaults { latency: Latency::Uniform(300.0, 1_100.0), ..ordinary() },
        Trouble::ServerErrors => ApiFaults { server_error: 0.5, too_many: 0.1, ..ordinary() },
        Trouble::Hangs => ApiFaults { hang: 0.3, ..ordinary() },
        Trouble::TransientCodes => ApiFaults { transient: 0.6, ..ordinary() },
        Trouble::Garbage => ApiFaults { malformed: 0.3, reset: 0.3, ..ordinary() },
        Trouble::Dead(_) | Trouble::ExpiredTokens => ordinary(),
    };
    let dead = ApiFaults { down: true, ..ordinary() };
    let apis = if let Trouble::Dead(api) = trouble { [(api, dead)].into() } else { Default::default() };
    Faults { all, apis }
}
