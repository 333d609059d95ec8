//! The database: one server, or a primary and a synchronous standby behind a proxy that leads all
//! connections to the primary.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::proxy::Proxy;
use super::super::service::Service;
use super::World;
use super::hands::Breakable;
use super::plan::What;

/// How long a standby may take to catch up with its primary.
const CATCH_UP: Duration = Duration::from_secs(60);

/// PostgreSQL, as the workers see it.
pub(super) struct Database {
    servers: Mutex<Servers>,
    switch: Option<Proxy>,
}

struct Servers {
    primary: Service,
    /// A server with its host and port.
    standby: Option<(Service, String)>,
}

impl Database {
    /// Starts it. Returns the URL for all clients, too.
    pub(super) async fn start(has_standby: bool) -> Option<(Self, String)> {
        let (primary, url) = Service::start("postgres.sh")?;
        if !has_standby {
            return Some((
                Self { servers: Mutex::new(Servers { primary, standby: None }), switch: None },
                url,
            ));
        }
        let standby = follow(&primary).expect("a standby");
        let switch = Proxy::before(address(&url)).await;
        let url = url.replace(&address(&url), &switch.address.to_string());
        let servers = Mutex::new(Servers { primary, standby: Some(standby) });
        Some((Self { servers, switch: Some(switch) }, url))
    }

    fn servers(&self) -> std::sync::MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The primary is killed for good, and the standby takes over. It is promoted only if it has
    /// everything that was acknowledged.
    fn fail_over(&self, down: Duration) -> Result<(), String> {
        let mut servers = self.servers();
        let Some((standby, address)) = servers.standby.take() else {
            return Err("there is no standby to promote".to_owned());
        };
        catches_up(&servers.primary)?;
        servers.primary.tell("kill")?;
        std::thread::sleep(down);
        standby.tell("promote")?;
        servers.primary = standby;
        if let Some(switch) = &self.switch {
            switch.lead_to(address);
            switch.cut();
        }
        Ok(())
    }
}

impl Breakable for Database {
    fn suffer(&self, what: &What, _: &World) -> Result<(), String> {
        match what {
            What::DatabaseRestart => self.servers().primary.tell("restart").map(drop),
            What::DatabaseKill { down } => {
                let servers = self.servers();
                servers.primary.tell("kill")?;
                std::thread::sleep(*down);
                // On a busy machine the first start may take too long.
                servers.primary.tell("start").or_else(|_| servers.primary.tell("start")).map(drop)
            }
            What::Promotion { down } => self.fail_over(*down),
            other => unreachable!("{other:?} is none of a database's"),
        }
    }

    /// A promoted server gets a standby of its own.
    fn repair(&self, what: &What) -> Result<(), String> {
        let mut servers = self.servers();
        if matches!(what, What::Promotion { .. }) {
            servers.standby = Some(follow(&servers.primary)?);
        }
        Ok(())
    }
}

/// A standby of this server, made from it.
fn follow(primary: &Service) -> Result<(Service, String), String> {
    let place = primary.place().display().to_string();
    let started = Service::start_with("postgres.sh", &[("CLAIMGATE_POSTGRES_FOLLOWS", place)]);
    let (standby, url) = started.ok_or("a standby could not be started")?;
    Ok((standby, address(&url)))
}

/// Waits until the standby has caught up with its primary: operators promote no other.
fn catches_up(primary: &Service) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + CATCH_UP;
    while primary.tell("synced").is_err() {
        if tokio::time::Instant::now() > deadline {
            return Err(format!("the standby did not catch up within {CATCH_UP:?}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// `host:port` of a URL.
fn address(url: &str) -> String {
    url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("host and port").to_owned()
}
