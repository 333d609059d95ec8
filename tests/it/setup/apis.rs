//! The risk APIs: reachable or not, and why; by a proxy; with an access token.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use claimgate_simulator::{Simulator, SimulatorOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::certificate::Untrusted;
use super::super::lab::{Event, Lab, claim};
use super::{NOWHERE, claimgate, lines};

#[test]
fn check_reports_why_an_api_is_unreachable() {
    let Some(server) = Untrusted::start() else { return };
    let (tls, plain) =
        (format!("https://localhost:{}", server.port), format!("http://127.0.0.1:{}", server.port));
    let refused = format!("http://{NOWHERE}");
    let output = claimgate(
        "check",
        &[
            ("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__BASE_URL", &tls),
            ("CLAIMGATE__RISK__MINI_PROGRAM__BASE_URL", &plain),
            ("CLAIMGATE__RISK__CAPTCHA_QUERY__BASE_URL", &refused),
            ("CLAIMGATE__RISK__CAPTCHA_CHECK__BASE_URL", "https://no-such-host.invalid"),
            ("CLAIMGATE__WECHAT__BASE_URL", &refused),
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    for (api, words) in [
        ("risk.intelligent_qr_code", "certificate"),
        ("risk.mini_program", ""),
        ("risk.captcha_query", "refused"),
        ("risk.captcha_check", "lookup"),
        ("risk.wechat_account", "refused"),
        ("WeChat access token", "refused"),
    ] {
        let line = lines(&output, api);
        assert!(
            line.starts_with("WRONG") && line.contains("base_url") && line.contains(words),
            "{line}"
        );
    }
}

/// A proxy that leads to one server only, and what it was asked.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (heard, server) = (Arc::clone(&heard), server.clone());
                tokio::spawn(async move {
                    let mut head = vec![0; 65_536];
                    let Ok(read @ 1..) = client.read(&mut head).await else { return };
                    heard
                        .lock()
                        .expect("no panic")
                        .push(String::from_utf8_lossy(&head[..read]).into_owned());
                    let mut server = TcpStream::connect(server).await.expect("the server listens");
                    server.write_all(&head[..read]).await.expect("sent");
                    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
                });
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_use_the_configured_proxy_only() {
    let Some(lab) = Lab::new("egress").await else { return };
    let address = lab.simulator.address();
    let proxy = Proxy::before(address.to_string()).await;
    // A host that only the proxy knows.
    let gateway = format!("http://gateway.invalid:{}", address.port());
    let apis: String = ["intelligent_qr_code", "mini_program", "captcha_query", "captcha_check"]
        .map(|api| format!("[risk.{api}]\nbase_url = \"{gateway}\"\n"))
        .concat();
    let more = format!(
        "[egress]\nproxy = \"http://user:hunter2@{}\"\nno_proxy = [\"127.0.0.1\"]\n{apis}\n[http]\n\
        listen = \"\"",
        proxy.address
    );
    let checked = lab.claimgate(&more, &["check"]).await;
    let line = lines(&checked, "risk.intelligent_qr_code");
    assert!(line.starts_with("ok") && line.contains("gateway.invalid"), "{line}");
    assert!(lines(&checked, "egress").contains(&proxy.address), "the proxy is named");
    assert!(!String::from_utf8_lossy(&checked.stdout).contains("hunter2"), "its password is not");
    let mut worker = lab.worker("w1", &more);
    lab.produce(&[Event::of(claim("by-proxy", "user-1"))]);
    let decided = async || !lab.read("decisions").is_empty();
    lab.wait("the decision", Duration::from_secs(60), decided).await;
    assert_eq!(worker.stop().await, Some(0));
    let asked = proxy.asked();
    let calls: Vec<&String> =
        asked.iter().filter(|head| head.contains("IntelligentQRCode")).collect();
    assert!(!calls.is_empty(), "the call went by the proxy: {asked:?}");
    assert!(calls.iter().all(|head| head.starts_with("GET http://gateway.invalid")), "{calls:?}");
    let login = |head: &String| head.to_lowercase().contains("proxy-authorization: basic");
    assert!(asked.iter().all(login), "with the user and the password");
    assert!(
        !asked.iter().any(|head| head.contains("/cgi-bin/")),
        "no_proxy holds for WeChat: {asked:?}"
    );
    let log = std::fs::read_to_string(lab.log("w1")).expect("a log");
    assert!(!log.contains("hunter2"), "the password is in no line");
}

#[test]
fn a_proxy_from_the_environment_is_ignored_with_a_warning() {
    let output = claimgate(
        "check",
        &[
            ("HTTPS_PROXY", "http://stranger:3128"),
            ("CLAIMGATE__WECHAT__BASE_URL", "http://127.0.0.1:1"),
        ],
    );
    let line = lines(&output, "HTTPS_PROXY");
    assert!(line.starts_with("warn") && line.contains("egress.proxy"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_fetches_an_access_token_and_bills_nothing() {
    let simulator = Simulator::start(SimulatorOptions::default()).await.expect("a free port");
    let url = simulator.base_url();
    let settings = |secret: &str| {
        let url = url.clone();
        let secret = secret.to_owned();
        tokio::task::spawn_blocking(move || {
            claimgate(
                "check",
                &[
                    ("CLAIMGATE__WECHAT__APP_ID", claimgate_simulator::APP_ID),
                    ("CLAIMGATE__WECHAT__APP_SECRET", &secret),
                    ("CLAIMGATE__WECHAT__BASE_URL", &url),
                    ("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__BASE_URL", &url),
                    ("CLAIMGATE__RISK__MINI_PROGRAM__BASE_URL", &url),
                    ("CLAIMGATE__RISK__CAPTCHA_QUERY__BASE_URL", &url),
                    ("CLAIMGATE__RISK__CAPTCHA_CHECK__BASE_URL", &url),
                ],
            )
        })
    };
    let output = settings(claimgate_simulator::APP_SECRET).await.expect("it ran");
    assert!(lines(&output, "WeChat access token").starts_with("ok"));
    for api in [
        "intelligent_qr_code",
        "mini_program",
        "captcha_query",
        "captcha_check",
        "wechat_account",
        "wechat_marketing",
    ] {
        let line = lines(&output, &format!("risk.{api}:"));
        assert!(line.starts_with("ok") && line.contains(&url), "{line}");
    }
    let output = settings("another-secret").await.expect("it ran");
    let line = lines(&output, "WeChat access token");
    assert!(
        line.starts_with("WRONG") && line.contains("wechat.app_secret") && line.contains("40125"),
        "{line}"
    );
    assert!(line.contains("invalid appsecret"), "WeChat's own words: {line}");
    let asked: Vec<String> = simulator
        .requests()
        .iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    let billed =
        |request: &String| request.contains("/v2/index.php") || request.contains("servicemarket");
    assert!(!asked.iter().any(billed), "a risk API was asked: {asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_warns_of_a_server_without_stable_tokens() {
    let options = SimulatorOptions { has_stable_token: false, ..SimulatorOptions::default() };
    let simulator = Simulator::start(options).await.expect("a free port");
    let url = simulator.base_url();
    let check = move || {
        let wechat = [
            ("CLAIMGATE__WECHAT__APP_ID", claimgate_simulator::APP_ID),
            ("CLAIMGATE__WECHAT__APP_SECRET", claimgate_simulator::APP_SECRET),
            ("CLAIMGATE__WECHAT__BASE_URL", &url),
        ];
        claimgate("check", &wechat)
    };
    let output = tokio::task::spawn_blocking(check).await.expect("it ran");
    let line = lines(&output, "WeChat access token");
    assert!(line.starts_with("warn") && line.contains("\"classic\""), "{line}");
}
