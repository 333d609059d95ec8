//! Outages: Postgres and Kafka go away and come back under a worker, and nothing is lost. These tests have services of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use claimgate::simulator::SimulatorOptions;

use super::lab::{Event, Lab, claim, services};
use super::oracle::{Expected, outcome};

const LONG: Duration = Duration::from_secs(120);

/// A service that this test started by a script of the project, and removes in the end.
struct Service {
    script: PathBuf,
    folder: tempfile::TempDir,
}

impl Service {
    /// Starts one. `None`, with a note, where the tests were given services and this machine cannot start any of its own.
    fn start(script: &str) -> Option<(Self, String)> {
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

    fn tell(&self, command: &str) -> Result<String, String> {
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

    fn run(&self, command: &str) {
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

fn events(from: usize, to: usize, expected: &mut Expected) -> Vec<Event> {
    let id = |number| format!("clm-{number}");
    expected.claims.extend((from..to).map(id));
    (from..to).map(|number| Event::of(claim(&id(number), &format!("user-{number}")))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_and_kafka_may_go_away() {
    if services().is_none() {
        return;
    }
    let Some((postgres, url)) = Service::start("postgres.sh") else { return };
    let Some((kafka, bootstrap)) = Service::start("kafka.sh") else { return };
    let lab = Lab::at("outages", SimulatorOptions::default(), bootstrap, url).await;
    let mut expected = Expected::default();
    let mut worker = lab.worker("w1", "");
    lab.produce(&events(0, 500, &mut expected));
    lab.wait("the first decisions", LONG, async || !outcome(&lab).decisions.is_empty()).await;

    postgres.run("stop");
    lab.produce(&events(500, 1_000, &mut expected));
    tokio::time::sleep(Duration::from_secs(3)).await;
    postgres.run("start");
    lab.wait("decisions after Postgres came back", LONG, async || expected.is_complete(&outcome(&lab))).await;

    postgres.run("kill");
    postgres.run("start");
    lab.produce(&events(1_000, 1_500, &mut expected));
    kafka.run("restart");
    lab.produce(&events(1_500, 2_000, &mut expected));
    tokio::time::sleep(Duration::from_millis(300)).await;
    kafka.run("kill");
    kafka.run("start");
    lab.wait("decisions after Kafka came back", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
}
