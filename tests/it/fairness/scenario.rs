//! What is wrong with A, and the run that measures B.

use std::collections::BTreeMap;
use std::time::Duration;

use claimgate_simulator::{Api, ApiFaults, Faults, Latency, SimulatorOptions};
use tokio::time::Instant;

use super::figures::Figures;
use super::load::{Account, Stream, send};
use crate::lab::Lab;
use crate::tail::Tail;

/// How long the first decisions may take, and the last ones of B.
const LONG: Duration = Duration::from_secs(60);

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) what: &'static str,
    trouble: Trouble,
    /// The part of their decisions that the others have to keep.
    pub(super) keeps: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// A is not there at all.
    Alone,
    Well,
    /// Every answer takes a second.
    Slow,
    /// `rate_limit` is a third of the load.
    Limited,
    /// This part of the calls fails temporarily.
    Fails(f64),
    /// This code to everything, from one of the Tencent Cloud APIs.
    Refuses(i64),
    /// The same from a WeChat API.
    RefusesToken(i64),
    /// A works; an account sends as much as all others of B together.
    OneAccount(Account),
}

const fn row(what: &'static str, trouble: Trouble, keeps: f64) -> Scenario {
    Scenario { what, trouble, keeps }
}

pub(super) const ALONE: Scenario = row("is not there", Trouble::Alone, 1.0);

pub(super) const SLOW_OR_HALF_SICK: [Scenario; 5] = [
    row("well", Trouble::Well, 0.95),
    row("takes 1.0 s", Trouble::Slow, 0.95),
    row("`rate_limit` of a third of its load", Trouble::Limited, 0.95),
    row("fails 15 %", Trouble::Fails(0.15), 0.95),
    row("fails 25 %", Trouble::Fails(0.25), 0.95),
];

pub(super) const MISCONFIGURED: [Scenario; 2] = [
    row("answers 4200, signature expired, to everything", Trouble::Refuses(4200), 0.95),
    row("WeChat: answers 40001, token refused, to everything", Trouble::RefusesToken(40_001), 0.95),
];

pub(super) const ONE_ACCOUNT: [Scenario; 2] = [
    row(
        "well; one account sends as much as all of B, by key",
        Trouble::OneAccount(Account::OneByKey),
        0.90,
    ),
    row("the same in all partitions", Trouble::OneAccount(Account::OneEverywhere), 0.90),
];

/// How a run is measured.
#[derive(Debug)]
pub(super) struct Settings {
    /// How long it is under load; the second half counts.
    length: Duration,
    /// Claims a second, of each API.
    rate: usize,
    /// The latency without faults in milliseconds: with 64 calls at once, 200 ms allow 320 calls a
    /// second.
    latency: f64,
}

impl Settings {
    pub(super) fn from_environment() -> Self {
        let number = |key: &str, default: u64| {
            let text = std::env::var(key).ok().filter(|text| !text.trim().is_empty());
            text.map_or(default, |text| {
                text.trim().parse().unwrap_or_else(|error| panic!("{key}={text:?}: {error}"))
            })
        };
        Self {
            length: Duration::from_secs(number("FAIRNESS_SECONDS", 120)),
            rate: number("FAIRNESS_RATE", 200) as usize,
            latency: number("FAIRNESS_LATENCY_MS", 200) as f64,
        }
    }

    fn well(&self) -> ApiFaults {
        ApiFaults { latency: Latency::Fixed(self.latency), ..ApiFaults::default() }
    }
}

const B: Stream = Stream { name: "b", kind: "mini_program", account: Account::Each };

impl Trouble {
    fn streams(self) -> Vec<Stream> {
        let a = |kind| Stream { name: "a", kind, account: Account::Each };
        match self {
            Self::Alone => vec![B],
            Self::RefusesToken(_) => vec![a("wechat_marketing"), B],
            Self::OneAccount(account) => {
                vec![a("qr_code"), B, Stream { name: "hot", account, ..B }]
            }
            _ => vec![a("qr_code"), B],
        }
    }

    fn faults(self, settings: &Settings) -> Faults {
        let all = settings.well();
        let fails =
            |share, codes| ApiFaults { transient: share, transient_codes: codes, ..all.clone() };
        let apis: BTreeMap<Api, ApiFaults> = match self {
            Self::Slow => [(
                Api::IntelligentQrCode,
                ApiFaults { latency: Latency::Fixed(1_000.0), ..all.clone() },
            )]
            .into(),
            Self::Fails(share) => [(Api::IntelligentQrCode, fails(share, vec![4]))].into(),
            Self::Refuses(code) => [(Api::IntelligentQrCode, fails(1.0, vec![code]))].into(),
            Self::RefusesToken(code) => [(Api::WechatMarketing, fails(1.0, vec![code]))].into(),
            Self::Alone | Self::Well | Self::Limited | Self::OneAccount(_) => BTreeMap::new(),
        };
        Faults { all, apis }
    }
}

/// Puts one worker under the load; `None` if there is no Kafka.
pub(super) async fn run(scenario: &Scenario, settings: &Settings) -> Option<Figures> {
    let well = Faults { all: settings.well(), ..Faults::default() };
    let lab = Lab::with(
        &format!("fair-{}", fastrand::u16(..)),
        SimulatorOptions { faults: well.clone(), ..SimulatorOptions::default() },
    )
    .await?;
    let listen = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port");
    let mut more = format!("[http]\nlisten = \"{listen}\"\n");
    if scenario.trouble == Trouble::Limited {
        more += &format!(
            "[risk.intelligent_qr_code]\nrate_limit = {:.1}\n",
            settings.rate as f64 / 3.0
        );
    }
    let (mut worker, tail) = (lab.worker("w1", &more), Tail::of(&lab));
    let first = Stream { name: "first", ..B };
    send(&lab, &[first], 100, Duration::from_secs(1)).await;
    lab.wait("the first decisions", LONG, async || tail.count() >= 100).await;

    lab.simulator.set_faults(scenario.trouble.faults(settings)).expect("faults");
    let began = Instant::now();
    let sent = send(&lab, &scenario.trouble.streams(), settings.rate, settings.length).await;
    let (half, end) = (began + settings.length / 2, began + settings.length);
    let in_flight = in_flight(&listen.to_string()).await;
    let b = sent.iter().find(|sent| sent.stream.name == B.name).expect("B is always there");
    let mut figures = Figures::of(b, &tail.seen(), half, end, in_flight);

    lab.simulator.set_faults(well).expect("no faults");
    let deadline = Instant::now() + LONG;
    let decided = || tail.seen().iter().filter(|seen| B.number(&seen.claim_id).is_some()).count();
    while decided() < b.at.len() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if decided() < b.at.len() {
        figures
            .faults
            .push(format!("{} claims of B are not decided {LONG:?} later", b.at.len() - decided()));
    }
    if worker.stop().await != Some(0) {
        figures.faults.push("the worker did not end as it should".to_owned());
    }
    if std::env::var_os("FAIRNESS_LOG").is_some() {
        println!("{}", std::fs::read_to_string(lab.log("w1")).unwrap_or_default());
    }
    Some(figures)
}

/// `claimgate_in_flight_claims`.
async fn in_flight(listen: &str) -> u64 {
    let answer = reqwest::get(format!("http://{listen}/metrics")).await.expect("an answer");
    let text = answer.text().await.expect("a body");
    let line = text.lines().find_map(|line| line.strip_prefix("claimgate_in_flight_claims "));
    line.and_then(|number| number.parse::<f64>().ok()).map_or(0, |number| number as u64)
}
