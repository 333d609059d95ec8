//! `claimgate status` against a worker: what it prints, and how it ends.

use std::process::Output;
use std::time::Duration;

use claimgate_simulator::{Api, ApiFaults, Faults};
use serde_json::Value;

use super::lab::{Event, Lab, claim};

const LONG: Duration = Duration::from_secs(60);
const CLAIMS: usize = 7;

fn claims(name: &str) -> Vec<Event> {
    (0..CLAIMS).map(|n| Event::of(claim(&format!("{name}-{n}"), &format!("{name}{n}")))).collect()
}

fn text(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[out.as_slice(), error.as_slice()].concat()).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)))
}

/// The settings of a worker that can be asked, and where.
fn listener() -> (String, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port");
    let settings = format!("[http]\nlisten = \"{free}\"\n[breaker]\nmin_calls = 3\n");
    (settings, format!("http://{free}"))
}

/// The API answers everything with a code by which it denies access.
fn denied() -> Faults {
    let faults = ApiFaults { transient: 1.0, transient_codes: vec![4200], ..ApiFaults::default() };
    Faults { apis: [(Api::IntelligentQrCode, faults)].into(), ..Faults::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_how_a_worker_is() {
    let Some(lab) = Lab::new("status").await else { return };
    let (http, url) = listener();
    let status =
        async |arguments: &[&str]| lab.claimgate(&http, &[&["status"], arguments].concat()).await;

    let away = status(&["--url", &url]).await;
    assert_eq!(away.status.code(), Some(1), "{}", text(&away));
    assert!(text(&away).contains(&format!("{url} cannot be asked")), "{}", text(&away));

    let mut worker = lab.worker("w1", &http);
    lab.wait("readiness", LONG, async || status(&[]).await.status.code() == Some(0)).await;
    lab.produce(&claims("well"));
    lab.wait("decisions", LONG, async || lab.read("decisions").len() == CLAIMS).await;
    let well = status(&["--url", &format!("{url}/metrics")]).await;
    assert_eq!(well.status.code(), Some(0), "{}", text(&well));
    for words in ["1 of 1 workers are ready", &url[7..], "intelligent_qr_code", "6 + 6"] {
        assert!(text(&well).contains(words), "{words}: {}", text(&well));
    }
    let is_idle = async || {
        let figures = json(&status(&["--format", "json"]).await)["workers"][0]["figures"].take();
        figures["undecided"] == 0.0 && figures["lag"] == 0.0
    };
    lab.wait("nothing undecided", LONG, is_idle).await;

    lab.simulator.set_faults(denied()).expect("faults");
    lab.produce(&claims("denied"));
    let shows_all = async || {
        let output = status(&["--url", &url, "--format", "json"]).await;
        let shown = json(&output);
        let figures = &shown["workers"][0]["figures"];
        let undecided = figures["undecided"].as_f64() == Some(CLAIMS as f64);
        let is_old = figures["oldest_seconds"].as_f64().is_some_and(|oldest| oldest > 1.0);
        let lag = figures["lag"].as_f64() == Some(CLAIMS as f64);
        let wrong = shown["wrong"].to_string().contains("intelligent_qr_code denies 1 of 1");
        undecided && is_old && lag && wrong && output.status.code() == Some(4)
    };
    lab.wait("what is undecided", LONG, shows_all).await;

    lab.simulator.set_faults(Faults::default()).expect("no faults");
    lab.wait("the rest", LONG, async || lab.read("decisions").len() == 2 * CLAIMS).await;
    assert_eq!(worker.stop().await, Some(0));
}

/// A paused partition is not fetched; its lag is known anyway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_grows_while_intake_is_paused() {
    let Some(lab) = Lab::new("statuslag").await else { return };
    let (http, url) = listener();
    lab.simulator.set_faults(denied()).expect("faults");
    // Nothing is decided, and nothing is deferred for want of room.
    let more = format!("{http}[worker]\nmax_in_flight = 20\n[retry]\nin_process_for = \"10m\"\n");
    let mut worker = lab.worker("w1", &more);
    let many = |name: &str, count: usize| -> Vec<Event> {
        let ids = (0..count).map(|number| format!("{name}-{number}"));
        ids.map(|id| Event::of(claim(&id, &id)).on(0)).collect()
    };
    let figures = async || {
        let output = lab.claimgate("", &["status", "--url", &url, "--format", "json"]).await;
        json(&output)["workers"][0]["figures"].take()
    };
    lab.produce(&many("first", 2_000));
    lab.wait("the pause", LONG, async || figures().await["intake_paused"] == true).await;
    lab.produce(&many("later", 1_500));
    lab.wait("all that waits", LONG, async || figures().await["lag"] == 3_500.0).await;
    assert_eq!(figures().await["intake_paused"], true);
    worker.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_watches_until_ctrl_c() {
    let Some(lab) = Lab::new("statuswatch").await else { return };
    let file = lab.folder.path().join("watched.txt");
    let out = std::fs::File::create(&file).expect("a file");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_claimgate"));
    command.args(["status", "--url", "http://127.0.0.1:1", "--watch", "--format", "json"]);
    let mut child = command.env_clear().stdout(out).spawn().expect("the command runs");
    let shown = || std::fs::read_to_string(&file).unwrap_or_default();
    lab.wait("two looks", LONG, async || shown().lines().count() >= 2).await;
    let told = std::process::Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    assert!(told.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    for line in shown().lines() {
        let shown: Value = serde_json::from_str(line).expect("one document a line");
        assert_eq!(shown["workers"][0]["ready"], false);
    }
}
