//! Services of a test's own: brokers and databases that may be killed without a word to the others.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A service that this test started by a script of the project, and removes in the end.
pub(crate) struct Service {
    script: PathBuf,
    folder: tempfile::TempDir,
}

impl Service {
    /// Starts one. `None`, with a note, where the tests were given services and this machine cannot start any of its own.
    pub(crate) fn start(script: &str) -> Option<(Self, String)> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
        let service = Self { script, folder: tempfile::tempdir().expect("a folder") };
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
        let output = Command::new(&self.script)
            .arg(command)
            .arg(self.folder.path().join("service"))
            .output()
            .expect("the script runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    pub(crate) fn run(&self, command: &str) {
        if let Err(why) = self.tell(command) {
            panic!("{command}: {why}");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(why) = self.tell("remove") {
            eprintln!("the service in {} could not be removed: {why}", self.folder.path().display());
        }
    }
}

/// Whether the test runner started this service, and not the caller.
fn started_here(service: &str) -> bool {
    std::env::var("CLAIMGATE_TEST_SERVICES").is_ok_and(|folder| Path::new(&folder).join(service).exists())
}
