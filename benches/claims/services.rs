//! What broker and database have used: the other part of the cost of a claim.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Outcome;
use crate::process::{cpu, cpu_of_tree};

/// CPU time of the services, if they run on this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Services {
    /// The broker's.
    pub(crate) broker: Option<Duration>,
    /// The database server's, with all its processes.
    pub(crate) database: Option<Duration>,
}

impl Services {
    /// What they have used since they started. It is unknown for services that
    /// `scripts/with-services.sh` did not start.
    pub(crate) fn now() -> Outcome<Self> {
        let Some(folder) = std::env::var_os("CLAIMGATE_TEST_SERVICES") else {
            return Ok(Self::default());
        };
        let folder = Path::new(&folder);
        let broker = pid(&folder.join("kafka/pid"));
        let home = fs::read_to_string(folder.join("postgres/home")).unwrap_or_default();
        let database = pid(&Path::new(home.trim()).join("data/postmaster.pid"));
        Ok(Self {
            broker: broker.map(cpu).transpose()?,
            database: database.map(cpu_of_tree).transpose()?,
        })
    }

    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        let since =
            |now: Option<Duration>, before: Option<Duration>| Some(now?.saturating_sub(before?));
        Self {
            broker: since(self.broker, before.broker),
            database: since(self.database, before.database),
        }
    }
}

/// The first line of a file that names a process.
fn pid(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
}
