//! Counts the instructions of the worker's pure parts.
//!
//! `scripts/instructions.sh` runs each case under callgrind, which counts what [`counted`] does and
//! nothing else, and compares the counts with those in `counts.txt`. They are the same on any
//! machine of one architecture, however busy.

use std::hint::black_box;

use claimgate::claim::{Claim, SubjectKey};
use claimgate::config::Config;
use claimgate::decision::{Assessment, Policy};
use claimgate::intake::backlog::Backlog;
use claimgate::intake::offset_map::{self, OffsetMap};
use claimgate::intake::{Admission, Assigned, Ledger, Partition, Record};
use claimgate::outbox::Received;
use claimgate::outbox::message;
use claimgate::risk::{Answer, ApiResult, Attempt, Registry};
use claimgate::schema::Verdict;

#[path = "../claims/event.rs"]
mod event;

/// How often a case is repeated, so that its set-up hardly counts.
const TIMES: usize = 200;
/// Every case by name; it runs [`TIMES`] times.
const CASES: [(&str, fn()); 10] = [
    ("claim_parse", claim_parse),
    ("claim_fingerprint", claim_fingerprint),
    ("subject_hash", subject_hash),
    ("tencent_cloud_request", || request("intelligent_qr_code")),
    ("tencent_cloud_answer", answer),
    ("wechat_request", || request("wechat_marketing")),
    ("policy_rule", policy_rule),
    ("decision_message", decision_message),
    ("ledger_and_offset_map", ledger_and_offset_map),
    ("backlog", backlog),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let case = arguments.iter().find_map(|name| CASES.iter().find(|(case, _)| case == name));
    match case {
        Some((_, run)) => run(),
        None if arguments.iter().any(|argument| argument == "--path") => {
            println!("{}", std::env::current_exe().expect("this program has a path").display());
        }
        None => CASES.iter().for_each(|(name, _)| println!("{name} {TIMES}")),
    }
}

/// callgrind counts this function, which it finds by its name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    (0..TIMES).for_each(|_| work());
}

fn claim_event() -> Vec<u8> {
    event::event("clm-a-0000017", 17, 17).into_bytes()
}

fn claim() -> Claim {
    Claim::parse(Some(&claim_event()), usize::MAX).expect("a claim")
}

fn set_up() -> (Registry, Policy) {
    let credentials = "[tencent_cloud]\nsecret_id = \"AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA\"\n\
        secret_key = \"Gu5t9xGARNpq86cd98joQYCN3Cozk1qA\"\n[wechat]\n\
        app_id = \"wx0000000000000001\"\n\
        app_secret = \"0123456789abcdef0123456789abcdef\"";
    let config = Config::from_toml(credentials).expect("a configuration");
    config.risk_apis().expect("APIs and a policy")
}

fn claim_parse() {
    let event = claim_event();
    counted(&mut || drop(black_box(Claim::parse(Some(black_box(&event)), usize::MAX))));
}

fn claim_fingerprint() {
    let claim = claim();
    counted(&mut || {
        black_box(black_box(&claim).fingerprint());
    });
}

fn subject_hash() {
    let (claim, key) = (claim(), SubjectKey::new(None));
    let (account_type, id) = claim.subject();
    counted(&mut || drop(black_box(key.subject(account_type.as_str(), black_box(id)))));
}

fn request(api: &str) {
    let ((registry, _), claim) = (set_up(), claim());
    let api = registry.get(registry.find(api).expect("an API")).api.as_ref();
    let (token, nonce) = (Some("a-token-of-512-characters-or-so"), 3_557_156_860);
    let attempt = Attempt { number: 1, now: 1_632_994_483, nonce, token };
    counted(&mut || drop(black_box(api.request(black_box(&claim), &attempt))));
}

fn answer() {
    let (registry, _) = set_up();
    let id = registry.find("intelligent_qr_code").expect("an API");
    let api = registry.get(id).api.as_ref();
    let body = br#"{"code":0,"codeDesc":"Success","message":"No Error","Nonce":516529719,"level":2,
        "postTime":"1553484280","uid":"BF0011AD31C95CA75E21365973","userIp":"127.0.0.1","riskType":[1,101]}"#;
    let answer = Answer { status: 200, body };
    counted(&mut || drop(black_box(api.read_any(black_box(&answer)))));
}

/// With many policies in turn, because the time of a map depends on its seed.
fn policy_rule() {
    let set_ups: Vec<_> = (0..32).map(|_| set_up()).collect();
    let mut turns = set_ups.iter().cycle();
    let answer = Answer { status: 200, body: br#"{"code":0,"level":2,"riskType":[101]}"# };
    let (registry, _) = &set_ups[0];
    let id = registry.find("intelligent_qr_code").expect("an API");
    let ApiResult::Assessed { assessment, .. } = registry.get(id).api.read_any(&answer) else {
        unreachable!("it has a level")
    };
    counted(&mut || {
        let Some((registry, policy)) = turns.next() else { return };
        let api = registry.get(id).api.as_ref();
        let rule = |assessment: &Assessment| {
            policy.rule(api.name(), assessment, |code| api.risk_type(code))
        };
        drop(black_box(rule(black_box(&assessment))));
    });
}

fn decision_message() {
    let verdict = Verdict::ordinary("clm-a-0000017");
    let received = Received {
        source: verdict.source.clone(),
        key: Some(b"user-17".to_vec()),
        headers: Vec::new(),
        payload: Some(claim_event()),
        received_at: 1_632_994_483_000_000,
        trace: claimgate::trace::TraceContext::fresh(1),
    };
    counted(&mut || drop(black_box(message::decided(black_box(&verdict), &received, 1 << 20))));
}

/// A thousand records are admitted; every other one is done, and the commit that says so is read
/// back.
fn ledger_and_offset_map() {
    let partition = Partition::claims(0);
    counted(&mut || {
        let mut ledger = Ledger::default();
        let metadata = String::new();
        ledger.assign(&Assigned { partition, epoch: 1, offset: Some(0), metadata, log_end: 1_000 });
        let admitted = (0..1_000).map(|offset| ledger.admit(partition, offset, 1));
        let tickets = admitted.filter_map(|admission| match admission {
            Admission::Ticket(ticket) => Some(ticket),
            Admission::AlreadyDone | Admission::Stale => None,
        });
        let done: Vec<_> = tickets.filter(|ticket| ticket.offset() % 2 == 1).collect();
        for commit in ledger.plan(done.iter()) {
            drop(black_box(OffsetMap::decode(commit.offset, &commit.metadata, 1_000)));
        }
        ledger.confirm(done);
    });
    drop(black_box(offset_map::encode(0, &[], 0)));
}

/// A record more comes in and goes out again where a thousand wait in six partitions.
fn backlog() {
    let record = |offset: i64| Record {
        partition: Partition::claims((offset % 6) as i32),
        offset,
        epoch: 1,
        key: None,
        headers: Vec::new(),
        payload: Some(Vec::new()),
        written_at: 0,
    };
    let mut backlog = Backlog::default();
    (0..1_000).for_each(|offset| backlog.push(record(offset)));
    let partitions: Vec<_> = (0..6).map(Partition::claims).collect();
    let mut offset = 1_000;
    counted(&mut || {
        backlog.push(record(offset));
        offset += 1;
        drop(black_box(backlog.pop(|_| true)));
        drop(black_box(backlog.paused(partitions.iter().copied())));
    });
}
