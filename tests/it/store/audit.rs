//! What auditors ask, over the real tables.

use std::collections::BTreeMap;

use claimgate::audit::{AuditCommand, Auditor, End, Retention};
use claimgate::claim::{DeadLetterReason, EventError, SubjectKey, SubjectKeys};
use claimgate::decision::{Decision, Policy, Reason};
use claimgate::outbox::{Call, RecordOutcome, Store};
use claimgate::risk::{Registry, Shared};
use claimgate::schema::Verdict;
use clap::Parser;
use config::{Config, File, FileFormat};
use serde_json::{Value, json};

use super::build::{NOW, call, close, event, verdict};
use super::database::RealStore;
use super::with_database;

/// The command line, as far as this module goes.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    audit: AuditCommand,
}

pub(super) struct Office {
    pub(super) store: RealStore,
    pub(super) keys: SubjectKeys,
    pub(super) registry: Registry,
    pub(super) policy: Policy,
    pub(super) retention: Retention,
    pub(super) kafka: claimgate::kafka::Settings,
}

/// Keys of subjects: the one in use, then former ones.
pub(super) fn keys(keys: &[&str]) -> SubjectKeys {
    let mut keys = keys.iter().map(|key| SubjectKey::new(Some(&(*key).into())));
    SubjectKeys { current: keys.next().expect("a key"), former: keys.collect() }
}

/// The document's own sample of an answer.
pub(super) const ANSWER: &[u8] =
    include_bytes!("../../fixtures/intelligent_qr_code/document_sample.json");

impl Office {
    pub(super) fn new(store: RealStore) -> Self {
        let registry = registry("");
        let policy = registry.policy(Decision::Review);
        Self {
            store,
            keys: keys(&["a key of our own"]),
            registry,
            policy,
            retention: Retention::default(),
            kafka: kafka(),
        }
    }

    /// Takes these settings of the API on, in `[risk.intelligent_qr_code]`.
    pub(super) fn adopt(&mut self, settings: &str) {
        self.registry = registry(settings);
        self.policy = self.registry.policy(Decision::Review);
    }

    /// Asks, and returns what was printed and whether it was found.
    pub(super) async fn ask(&self, line: &str) -> (String, bool) {
        let (text, end) = self.answer(line).await;
        (text, end == End::Found)
    }

    /// Asks, and returns what was printed and how the question ended.
    pub(super) async fn answer(&self, line: &str) -> (String, End) {
        let words = std::iter::once("audit").chain(line.split(' '));
        let command = Line::try_parse_from(words).expect("a question").audit;
        let risk_apis = command.needs_risk_apis().then_some((&self.registry, &self.policy));
        let auditor = Auditor {
            store: &self.store.store,
            kafka: &self.kafka,
            subject_keys: &self.keys,
            retention: &self.retention,
            overrides: &claimgate::audit::Overrides::default(),
            give_up_after: std::time::Duration::from_secs(86_400),
            risk_apis,
        };
        let mut out = Vec::new();
        let end = command.run(auditor, &mut out).await.expect("an answer");
        (String::from_utf8(out).expect("text"), end)
    }

    pub(super) async fn ask_json(&self, line: &str) -> Value {
        let (out, _) = self.ask(&format!("{line} --json")).await;
        serde_json::from_str(&out).expect("JSON")
    }
}

fn kafka() -> claimgate::kafka::Settings {
    let defaults = include_str!("../../../config/default.toml");
    let file = File::from_str(defaults, FileFormat::Toml);
    let built = Config::builder().add_source(file).build().expect("TOML");
    built.get("kafka").expect("a section")
}

fn registry(settings: &str) -> Registry {
    let text = format!(
        r#"
        [tencent_cloud]
        secret_id = "id"
        secret_key = "key"
        [risk.intelligent_qr_code]
        {settings}
    "#
    );
    let file = File::from_str(&text, FileFormat::Toml);
    let built = Config::builder().add_source(file).build().expect("TOML");
    let sections: BTreeMap<_, _> =
        built.get_table("risk").expect("a section").into_iter().collect();
    let shared = Shared {
        tencent_cloud: built
            .get::<claimgate::risk::tencent_cloud::Settings>("tencent_cloud")
            .expect("a section")
            .into(),
        ..Shared::default()
    };
    Registry::new(sections, &shared).expect("an API")
}

/// A verdict as the worker makes it from `ANSWER`, decided just now.
pub(super) fn honest(office: &Office, claim_id: &str, offset: i64) -> (Verdict, Call) {
    use claimgate::risk::{Answer, ApiResult};
    let (_, route) = office.registry.iter().next().expect("an API");
    let ApiResult::Assessed { assessment, provider_code } =
        route.api.read(&Answer { status: 200, body: ANSWER })
    else {
        panic!("the document's sample is a verdict")
    };
    let ruling =
        office.policy.rule(route.api.name(), &assessment, |code| route.api.risk_type(code));
    let now =
        i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).expect("now");
    let verdict = Verdict {
        decision: ruling.decision,
        reasons: ruling.reasons,
        provider_code: Some(provider_code),
        policy_version: office.policy.version().to_owned(),
        subject: office.keys.current.subject("phone", "15912345687"),
        decided_at: now,
        ..verdict(claim_id, offset)
    };
    let answered = Call {
        requested_at: now - 5_000,
        outcome: "assessed".into(),
        reason: "".into(),
        provider_code: Some(provider_code),
        response: Some(ANSWER.to_vec()),
        ..call(claim_id)
    };
    (verdict, answered)
}

fn completed(verdict: Verdict) -> (claimgate::outbox::Received, RecordOutcome) {
    super::build::assessed(verdict)
}

#[tokio::test]
async fn a_claims_file_holds_the_verdict_the_event_and_every_answer() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let (verdict, answered) = honest(&office, "a", 1);
        let hostile = Call {
            requested_at: NOW,
            response: Some(b"\x1b]0;owned\x07\xff".to_vec()),
            ..call("a")
        };
        let unanswered = Call {
            requested_at: NOW + 1,
            http_status: None,
            provider_code: None,
            response: None,
            ..call("a")
        };
        let calls = vec![answered, hostile, unanswered];
        office
            .store
            .record(&close(vec![completed(verdict.clone())], calls))
            .await
            .expect("recorded");

        let (text, found) = office.ask("claim a").await;
        assert!(found && !text.contains('\u{1b}'), "{text}");
        // Its lines are indented, so that none looks like the answer's own.
        let sample = std::str::from_utf8(ANSWER).expect("text").trim().replace('\n', "\n  ");
        for part in [
            "qr_code",
            verdict.decision.as_str(),
            "reward.claims/3/1",
            "no answer",
            "internal_error",
            sample.as_str(),
            "\\x1b]0;owned",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let file = office.ask_json("claim a").await;
        assert_eq!(file["verdict"]["decision"], verdict.decision.as_str());
        assert_eq!(file["verdict"]["claimed_at"], "9999-12-31T23:59:59Z");
        assert_eq!(file["calls"][0]["response"], json!({ "base64": "G10wO293bmVkB/8=" }));
        assert_eq!(file["calls"][0]["latency_ms"], 90_061_000.001);
        assert_eq!(file["calls"][1]["response"], Value::Null);
        assert_eq!(file["calls"][2]["response"]["text"].as_str().expect("text").as_bytes(), ANSWER);
        assert_eq!(file["events"][0]["payload"], json!({ "text": r#"{"claim_id":"a"}"# }));

        let (text, found) = office.ask("claim b").await;
        assert!(!found && text.contains("no verdict for claim \"b\""), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_subject_is_found_by_who_it_is_and_only_under_the_key() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        let (first, _) = honest(&office, "a", 1);
        let second = Verdict { decided_at: first.decided_at + 1, ..honest(&office, "b", 2).0 };
        office
            .store
            .record(&close(
                vec![completed(first), completed(second), completed(verdict("c", 3))],
                vec![],
            ))
            .await
            .expect("recorded");
        let file = office.ask_json("subject phone 15912345687").await;
        let ids: Vec<_> = file["verdicts"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["claim_id"].clone())
            .collect();
        assert_eq!(ids, ["b", "a"], "latest first");
        assert_eq!(
            office.ask_json("subject phone 15912345687 --limit 1").await["verdicts"]
                .as_array()
                .map(Vec::len),
            Some(1)
        );
        assert!(!office.ask("subject qq 15912345687").await.1);
        office.keys = keys(&["another"]);
        assert!(!office.ask("subject phone 15912345687").await.1);
        office.keys = keys(&["another", "a key of our own"]);
        assert!(office.ask("subject phone 15912345687").await.1, "by a former key");
        assert!(Line::try_parse_from(["audit", "subject", "fax", "1"]).is_err());
    })
    .await;
}

#[tokio::test]
async fn decisions_are_counted_with_their_reasons() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let level = |value| Reason::new("level", Some(value), None);
        let decided = |n: i64, decision, reasons| {
            let verdict = honest(&office, &format!("claim {n}"), n).0;
            completed(Verdict { decision, reasons, ..verdict })
        };
        let mut records: Vec<_> = (0..6).map(|n| decided(n, Decision::Approve, vec![level(0)])).collect();
        records.push(decided(6, Decision::Approve, vec![]));
        records.push(decided(7, Decision::Reject, vec![level(4), Reason::new("risk_type", Some(1), Some("one"))]));
        records.push(decided(8, Decision::Reject, vec![level(3), level(4)]));
        records.push(decided(9, Decision::Review, vec![Reason::new("unassessable", Some(4500), Some("bad_openid"))]));
        // Long ago, and so not counted.
        records.push(completed(verdict("old", 10)));
        office.store.record(&close(records, vec![])).await.expect("recorded");

        let counts = office.ask_json("decisions --since 1h").await["counts"].clone();
        let found: Vec<_> = counts.as_array().expect("rows").iter().map(|row| (row["decision"].clone(), row["claims"].clone())).collect();
        assert_eq!(found, [(json!("approve"), json!(7)), (json!("review"), json!(1)), (json!("reject"), json!(2))]);
        assert_eq!(counts[0]["share"], 0.7);
        assert_eq!(counts[2]["reasons"][0], json!({ "reason": { "code": "level", "value": 4 }, "claims": 2 }));
        assert_eq!(counts[2]["reasons"].as_array().map(Vec::len), Some(3));
        let (text, _) = office.ask("decisions").await;
        let row = "| intelligent_qr_code | approve  | 7      | 70.0 % | level 0 (6)";
        assert!(text.contains(row), "{text}");

        let unassessed = office.ask_json("unassessed").await;
        assert_eq!(unassessed["counts"], json!([
            { "api": "intelligent_qr_code", "code": "unassessable", "name": "bad_openid", "provider_code": 4500, "claims": 1 }
        ]));
        assert_eq!(unassessed["claims"][0]["claim_id"], "claim 9");
        assert!(office.ask("unassessed").await.0.contains("bad_openid"));
        assert!(!office.ask("decisions --since 1us").await.1);
        assert_eq!(
            office.ask("unassessed --since 1us").await,
            ("every claim of that time was assessed\n".to_owned(), false)
        );
    })
    .await;
}

#[tokio::test]
async fn a_record_is_found_by_where_it_stood() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let dead = (
            event(2),
            RecordOutcome::DeadLettered(DeadLetterReason::field(
                EventError::WrongType,
                "account.id",
                "no text",
            )),
        );
        office
            .store
            .record(&close(vec![completed(verdict("a", 1)), dead], vec![]))
            .await
            .expect("recorded");
        let decided = office.ask_json("source reward.claims/3/1").await;
        assert_eq!(
            (&decided["verdicts"][0]["claim_id"], &decided["events"][0]["claim_id"]),
            (&json!("a"), &json!("a"))
        );
        let dead = office.ask_json("source reward.claims/3/2").await;
        assert_eq!(dead["dead_letters"][0]["error_field"], "account.id");
        assert_eq!(
            dead["dead_letters"][0]["headers"][0],
            json!({ "name": "traceparent", "text": "00-ab-cd-01" })
        );
        assert!(
            office.ask("source reward.claims/3/2").await.0.contains("wrong_type, field account.id")
        );
        assert!(!office.ask("source reward.claims/3/9").await.1);
    })
    .await;
}

#[tokio::test]
async fn retention_drops_what_it_says_and_nothing_else() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        let (verdict, answered) = honest(&office, "a", 1);
        let old = Call { requested_at: 1_000_000_000_000_000, ..call("a") };
        database.execute("select claimgate_ensure_partitions('2001-09-01', 1)").await;
        office
            .store
            .record(&close(vec![completed(verdict)], vec![answered, old]))
            .await
            .expect("recorded");
        assert_eq!(
            office.ask("retention").await.0,
            "nothing is past its retention\n",
            "everything is kept by default"
        );
        office.retention.risk_calls = Some(std::time::Duration::from_secs(86_400));
        let (would, _) = office.ask("retention --dry-run").await;
        assert!(would.starts_with("would drop risk_calls_y2001m09, "), "{would}");
        assert_eq!(
            database.number("select count(*) from risk_calls").await,
            2,
            "a dry run drops nothing"
        );
        let (done, _) = office.ask("retention").await;
        assert_eq!(done, would.replace("would drop", "dropped"));
        assert_eq!(database.number("select count(*) from risk_calls").await, 1);
        assert_eq!(
            database.number("select count(*) from claim_events_y2001m09").await,
            0,
            "its sister is still there"
        );
        assert_eq!(database.number("select count(*) from verdicts").await, 1);
    })
    .await;
}
