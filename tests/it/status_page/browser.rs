//! In a headless Chromium, controlled over a pipe (the Chrome DevTools Protocol).
//!
//! With `CLAIMGATE_SCREENSHOTS=docs/images` the pictures of the documentation are taken.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use claimgate_simulator::Latency;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::*;
use crate::lab::answers_after;

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A browser with one tab.
struct Browser {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    tab: String,
    last: u64,
    /// Exceptions, and what the console says as an error.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

/// The browser, where one is installed.
fn program() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let programs = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |at| at.join(name)));
    let found = programs.into_iter().find(|program| program.exists());
    if found.is_none() {
        eprintln!("left out: no Chromium is installed; scripts/setup.sh test installs it");
    }
    found
}

impl Browser {
    async fn start(program: PathBuf) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // The protocol is spoken on the descriptors 3 and 4.
        let script = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--no-proxy-server", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the browser starts");
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let mut browser = Self {
            _child: child,
            to: to.expect("a pipe"),
            from: BufReader::new(from.expect("a pipe")),
            tab: String::new(),
            last: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let tab = browser.tell("Target.createTarget", json!({ "url": "about:blank" })).await;
        let tab = json!({ "targetId": tab["targetId"], "flatten": true });
        let session = browser.tell("Target.attachToTarget", tab).await;
        browser.tab = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.tell(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Sends one command, and waits for its result.
    async fn tell(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if !self.tab.is_empty() {
            message["sessionId"] = json!(self.tab);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).await.expect("it listens");
        loop {
            let mut said = Vec::new();
            let read = tokio::time::timeout(LONG, self.from.read_until(0, &mut said)).await;
            assert!(read.expect("an answer in time").expect("a pipe") > 0, "the browser ended");
            let said: Value = serde_json::from_slice(&said[..said.len() - 1]).expect("JSON");
            if said["id"] == self.last {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            self.listen(&said);
        }
    }

    fn listen(&mut self, event: &Value) {
        let is_error = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            _ => false,
        };
        if is_error {
            self.complaints.push(event["params"].to_string());
        }
    }

    /// A window of this size, with these colours.
    async fn becomes(&mut self, [width, height]: [u32; 2], scheme: &str) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": width < 600 });
        self.tell("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
    }

    async fn open(&mut self, url: &str) {
        self.tell("Page.navigate", json!({ "url": url })).await;
    }

    async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        self.tell("Runtime.evaluate", parameters).await["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    async fn sees(&mut self, expression: &str) {
        let deadline = tokio::time::Instant::now() + LONG;
        while self.evaluate(expression).await != true {
            if tokio::time::Instant::now() > deadline {
                let text = self.evaluate("document.body.innerText").await;
                panic!("not seen: {expression}\n{text}\n{:?}", self.complaints);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes a picture where the documentation wants one.
    async fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("CLAIMGATE_SCREENSHOTS") else { return };
        let taken = self.tell("Page.captureScreenshot", json!({ "format": "png" })).await;
        let taken = BASE64_STANDARD.decode(taken["data"].as_str().expect("a picture"));
        let path = PathBuf::from(folder).join(format!("status-{name}.png"));
        std::fs::write(path, taken.expect("base64")).expect("written");
    }
}

const CLAIM: &str = "clm-20270101-alice";
const TEXT: &str = "document.body.innerText";
/// From now on the answer about [`CLAIM`] comes after that about a claim that was asked for later.
const LATE: &str = "window.fetch = ((ask) => async (path, ...rest) => {
        const answer = await ask(path, ...rest);
        if (!path.includes('alice')) return answer;
        await new Promise((on) => setTimeout(on, 1000));
        window.is_late = true;
        return answer;
    })(window.fetch)";

/// Claims of many accounts, a hundred a second, until it is stopped.
async fn feed(lab: &Lab, stop: &AtomicBool) {
    let words = ["level-0", "level-0", "level-0", "level-2", "level-4"];
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let word = words[number % words.len()];
        let event = claim(&format!("clm-20270101-{number:06}"), &format!("o{number}x-{word}"));
        lab.enqueue(&Event::of(event));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_figures_decisions_and_a_claims_story() {
    let Some(program) = program() else { return };
    let options = answers_after(Latency::Uniform(10.0, 40.0));
    let Some((lab, viewer, mut worker)) = at_home("pageseen", options).await else { return };
    let stop = AtomicBool::new(false);
    let look = async {
        let mut browser = Browser::start(program).await;
        browser.becomes([1000, 1250], "light").await;
        browser.open(&format!("{}/", viewer.base)).await;
        browser.sees("/Decided\\s+[1-9]/.test(document.body.innerText)").await;
        browser.sees(&format!("{TEXT}.includes('✓ ready') && {TEXT}.includes('✓ closed')")).await;
        browser.sees("document.querySelectorAll('#decisions tbody tr').length > 20").await;
        browser.sees("document.querySelector('svg path').getAttribute('d').includes('L')").await;
        if std::env::var_os("CLAIMGATE_SCREENSHOTS").is_some() {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }

        lab.produce(&[of_somebody(CLAIM, "-transient-2-http-503"), of_somebody(HOSTILE, "")]);
        let has = async |id| viewer.json(&story_of(id)).await["claim"].is_object();
        lab.wait("the claims", LONG, async || has(CLAIM).await && has(HOSTILE).await).await;
        let encoded = story_of(HOSTILE).replace("/claims/", "#").replace(".json", "");
        browser.evaluate(&format!("location.hash = '{encoded}'")).await;
        browser.sees("document.querySelector('#claim dd')?.innerText.startsWith('<script>')").await;
        browser.evaluate(&format!("location.hash = '#{CLAIM}'")).await;
        browser.sees("document.querySelectorAll('#claim li').length === 6").await;
        browser.sees(&format!("{TEXT}.includes('HTTP 503') && {TEXT}.includes('oPD***03')")).await;
        browser.sees(&format!("!{TEXT}.includes('{PHONE}') && !{TEXT}.includes('{OPENID}')")).await;
        browser.sees("document.documentElement.scrollWidth <= innerWidth").await;
        browser.sees("document.getElementById('apis').offsetWidth <= innerWidth").await;
        browser.picture("light").await;

        browser.becomes([1000, 1250], "dark").await;
        browser.sees("getComputedStyle(document.body).backgroundColor === 'rgb(15, 19, 24)'").await;
        browser.picture("dark").await;
        browser.becomes([390, 844], "light").await;
        browser.sees("innerWidth === 390 && document.documentElement.scrollWidth <= 390").await;
        browser.sees("document.querySelectorAll('#claim li').length === 6").await;
        browser.picture("phone").await;

        browser.evaluate("location.hash = '#clm-nowhere'").await;
        browser.sees(&format!("{TEXT}.includes('nothing about this claim')")).await;
        browser.evaluate(LATE).await;
        browser.evaluate(&format!("location.hash = '#{CLAIM}'")).await;
        browser.evaluate("location.hash = '#clm-nowhere'").await;
        browser.sees("window.is_late").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(browser.evaluate("document.querySelectorAll('#claim li').length").await, 0);
        // The browser itself notes an answer of 404, and nothing else is wrong.
        browser.complaints.retain(|said| !said.contains("clm-nowhere"));
        assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(feed(&lab, &stop), look);
    assert_eq!(worker.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_asks_for_the_token_and_keeps_it_in_the_tab() {
    let Some(program) = program() else { return };
    let Some(lab) = Lab::new("pagelogin").await else { return };
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n");
    let mut worker = lab.worker("w1", &http);
    let viewer = Viewer::of(port);
    lab.wait("readiness", LONG, async || viewer.is_ready().await).await;
    let mut browser = Browser::start(program).await;
    browser.open(&format!("{}/", viewer.base)).await;
    let type_in = |token: &str| {
        format!(
            "document.getElementById('token').value = '{token}';
            document.querySelector('#login button').click()"
        )
    };
    browser.sees("!document.getElementById('login').hidden").await;
    browser.evaluate(&type_in("wrong")).await;
    browser
        .sees("sessionStorage.length === 0 && document.getElementById('token').value === ''")
        .await;
    browser.evaluate(&type_in(TOKEN)).await;
    browser
        .sees(&format!("{TEXT}.includes('✓ ready') && document.getElementById('login').hidden"))
        .await;
    assert_eq!(browser.evaluate("localStorage.length + document.cookie.length").await, 0);
    assert_eq!(browser.evaluate("location.href.length").await, viewer.base.len() + 1);
    assert_eq!(worker.stop().await, Some(0));
}
