//! Services of one test: a Kafka or a Postgres that it may stop, kill and start again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Brokers that tests have of their own at once: each takes half a gigabyte, and a core while it
/// starts. A cluster counts as all of them.
const BROKERS_MAX: usize = 2;
static BROKERS: AtomicUsize = AtomicUsize::new(0);

/// A service that this test started by a script of the project, and removes in the end.
pub(crate) struct Service {
    script: PathBuf,
    /// Of [`BROKERS_MAX`].
    brokers: usize,
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Service {
    /// Starts one. `None`, with a note, if the tests were given services and this machine cannot
    /// start its own.
    pub(crate) fn start(script: &str) -> Option<(Self, String)> {
        Self::start_with(script, &[])
    }

    /// The same, with variables that the script reads.
    pub(crate) fn start_with(
        script: &str,
        variables: &[(&'static str, String)],
    ) -> Option<(Self, String)> {
        let brokers = match script {
            "kafka.sh" => 1,
            "kafka-cluster.sh" => BROKERS_MAX,
            _ => 0,
        };
        if brokers > 0 {
            let free = |started| (started + brokers <= BROKERS_MAX).then_some(started + brokers);
            while BROKERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_err() {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
        let folder = tempfile::tempdir().expect("a folder");
        let service = Self { script, brokers, folder, variables: variables.to_vec() };
        match service.tell("start") {
            Ok(printed) => {
                let (_, value) = printed.trim().rsplit_once("=").expect("KEY=value");
                let value = value.to_owned();
                Some((service, value))
            }
            Err(why) if !started_here("kafka") || !started_here("postgres") => {
                eprintln!("left out: no service of its own could be started: {why}");
                None
            }
            Err(why) => panic!("{}: {why}", service.script.display()),
        }
    }

    pub(crate) fn tell(&self, command: &str) -> Result<String, String> {
        self.tell_about(command, &[])
    }

    /// The same, with what else the script takes.
    pub(crate) fn tell_about(&self, command: &str, about: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.script)
            .arg(command)
            .arg(self.place())
            .args(about)
            .envs(self.variables.iter().cloned())
            .output()
            .expect("the script runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout)
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The path of a file of the script's, by its name.
    pub(crate) fn path(&self, name: &str) -> String {
        self.place().join(name).display().to_string()
    }

    /// The script's own folder.
    pub(crate) fn place(&self) -> PathBuf {
        self.folder.path().join("service")
    }

    /// A file of the script's, by its name.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.place().join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// `stop`, `kill`, `restart` and what else the script can.
    /// How long it took.
    pub(crate) fn run(&self, command: &str) -> Duration {
        let began = Instant::now();
        if let Err(why) = self.tell(command) {
            panic!("{command}: {why}");
        }
        began.elapsed()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(why) = self.tell("remove") {
            eprintln!(
                "the service in {} could not be removed: {why}",
                self.folder.path().display()
            );
        }
        BROKERS.fetch_sub(self.brokers, Ordering::Relaxed);
    }
}

/// Whether the test runner started this service, and not the caller.
fn started_here(service: &str) -> bool {
    std::env::var("CLAIMGATE_TEST_SERVICES")
        .is_ok_and(|folder| Path::new(&folder).join(service).exists())
}
