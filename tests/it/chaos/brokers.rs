//! The brokers: one, or three of a cluster.

use super::super::cluster::{BROKERS, Cluster};
use super::super::service::Service;
use super::World;
use super::hands::Breakable;
use super::plan::What;

/// One broker, or a cluster.
pub(super) enum Brokers {
    One(Service),
    Three(Cluster),
}

impl Brokers {
    /// Starts them. Returns their addresses, too.
    pub(super) fn start(is_cluster: bool) -> Option<(Self, String)> {
        if is_cluster {
            let (cluster, bootstrap) = Cluster::start()?;
            return Some((Self::Three(cluster), bootstrap));
        }
        let (service, bootstrap) = Service::start("kafka.sh")?;
        Some((Self::One(service), bootstrap))
    }

    /// Whether the topics are as safe as a cluster can make them.
    pub(super) async fn verify(&self, world: &World) {
        if let Self::Three(cluster) = self {
            cluster.verify(&world.lab).await;
        }
    }
}

impl Breakable for Brokers {
    fn suffer(&self, what: &What, world: &World) -> Result<(), String> {
        let (What::BrokerRestart { part } | What::BrokerKill { part, .. }) = what else {
            unreachable!("{what:?} is none of a broker's")
        };
        type Tell<'a> = Box<dyn Fn(&str) -> Result<(), String> + 'a>;
        let tell: Tell<'_> = match self {
            Self::One(service) => Box::new(|command| service.tell(command).map(drop)),
            Self::Three(cluster) => {
                let found = cluster.that_has(*part, &world.lab);
                let broker = found.unwrap_or_else(|| 1 + fastrand::usize(..BROKERS));
                world.journal.say(&format!(
                    "broker {broker} is hit, for {part:?} is said to be with {found:?}"
                ));
                Box::new(move |command| cluster.tell(command, broker))
            }
        };
        let What::BrokerKill { down, .. } = what else { return tell("restart") };
        tell("kill")?;
        std::thread::sleep(*down);
        // On a busy machine the first start may take too long.
        tell("start").or_else(|_| tell("start"))
    }
}
