//! Questions as a person asks them: what they say, how they end, and how long they may take.

use claimgate::claim::SubjectKey;
use claimgate::decision::{Decision, Reason};
use claimgate::outbox::{Call, RecordOutcome, Store};
use claimgate::schema::Verdict;
use std::process::Output;

use super::build::{NOW, call, close, following, verdict};
use super::{TestDatabase, with_database};

/// The document's own sample of an answer: level 0.
const ANSWER: &[u8] = include_bytes!("../../fixtures/intelligent_qr_code/document_sample.json");

/// Runs the real binary on this database, without the credentials of any risk API.
pub(super) async fn claimgate(url: &str, more: &str, line: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("claimgate.toml");
    std::fs::write(&config, format!("[postgres]\nurl = \"{url}\"\n{more}\n")).expect("written");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_claimgate"));
    command
        .arg("--config")
        .arg(&config)
        .args(line.split(' '))
        .env_clear()
        .current_dir(folder.path());
    let Output { status, stdout, stderr } =
        command.kill_on_drop(true).output().await.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// A claim that the answer decided, rightly or not, and its attempt.
fn claim(claim_id: &str, offset: i64, decision: Decision) -> (Verdict, Call) {
    let verdict = Verdict {
        decision,
        reasons: vec![Reason::new("level", Some(0), None)],
        decided_at: NOW,
        ..verdict(claim_id, offset)
    };
    let answered = Call {
        outcome: "assessed".into(),
        reason: "".into(),
        response: Some(ANSWER.to_vec()),
        ..call(claim_id)
    };
    (verdict, answered)
}

#[tokio::test]
async fn each_result_of_a_question_has_its_own_exit_code() {
    with_database(async |database| {
        let (good, answer) = claim("good", 1, Decision::Approve);
        let (forged, same_answer) = claim("forged", 2, Decision::Reject);
        let (unkept, _) = claim("unkept", 3, Decision::Approve);
        let records = [good, forged, unkept].map(|verdict| {
            let (received, verdict) = following(verdict, &SubjectKey::new(None));
            (received, RecordOutcome::Decided(Box::new(verdict)))
        });
        database
            .store()
            .await
            .record(&close(records.to_vec(), vec![answer, same_answer]))
            .await
            .expect("recorded");
        database.expire("delete from claim_events where claim_id = 'unkept'").await;
        let nothing = "claimgate: nothing was found\n";
        let away = "postgres://claimgate@127.0.0.1:1/claims";
        for (url, line, code, sentence) in [
            (&database.url[..], "audit claim good", 0, ""),
            (&database.url, "audit verify good", 0, ""),
            (&database.url, "audit claim other", 3, nothing),
            (&database.url, "audit rederive --since 1us", 3, nothing),
            (&database.url, "audit verify other", 3, nothing),
            (&database.url, "audit source reward.claims/3/9", 3, nothing),
            (&database.url, "audit verify forged", 4, "does not lead to the recorded decision"),
            (&database.url, "audit verify unkept", 5, "is not enough to tell"),
            (&database.url, "dead-letters list", 3, "no dead letter matches"),
            (&database.url, "dead-letters show reward.claims/3/9", 3, "no dead letter matches"),
            (&database.url, "audit search --ip 1.2.3.4", 3, nothing),
            (
                &database.url,
                "audit search --ip 1.2.3.4 --since 2000-01-01T00:00:00Z",
                5,
                "is not enough to tell",
            ),
            (&database.url, "audit search --since 1h", 2, "--ip <ADDRESS>"),
            (&database.url, "audit calls --since 1us", 3, nothing),
            (&database.url, "audit decisions --since 1h --until 2h", 2, "the period is empty"),
            (&database.url, "audit policies 00", 2, "no policy that is kept"),
            (&database.url, "audit export verdicts", 2, "--since <TIME>"),
            (&database.url, "audit trace 4bf9", 2, "32 hex digits"),
            (&database.url, "audit claim good --format csv", 0, ""),
            (&database.url, "audit claim good --json --format csv", 2, "cannot be used with"),
            (&database.url, "audit sing", 2, "unrecognized subcommand"),
            (away, "audit claim good", 1, "127.0.0.1:1/claims"),
            (away, "dead-letters list", 1, "127.0.0.1:1/claims"),
        ] {
            let (found, out, error) = claimgate(url, "", line).await;
            assert_eq!(found, Some(code), "{line}: {out}{error}");
            assert!(error.contains(sentence) && (code != 0 || error.is_empty()), "{line}: {error}");
            assert!(code == 2 || error.lines().count() <= 1, "{line}: {error}");
        }
    })
    .await;
}

async fn many_claims(database: &TestDatabase) {
    database
        .execute(
            "insert into verdicts select 'c' || n, 'k', 'a', 's', 'approve', 0, '{}',
                '[{\"code\":\"level\",\"value\":0}]', 0, 'p', 1, null,
                now(), now(), 't', 0, n, '', '', sha256('x')
            from generate_series(1, 100000) as n",
        )
        .await;
}

#[tokio::test]
async fn a_question_names_the_limit_that_it_reached() {
    with_database(async |database| {
        many_claims(database).await;
        let workers = "statement_timeout = \"20ms\"";
        let (code, out, error) =
            claimgate(&database.url, workers, "audit decisions --since 300d").await;
        assert_eq!(code, Some(0), "{error}");
        assert!(out.contains("100000"), "{out}");
        let own = "[audit]\nstatement_timeout = \"20ms\"";
        let (code, _, error) = claimgate(&database.url, own, "audit decisions --since 300d").await;
        assert_eq!(code, Some(1));
        assert!(error.contains("`audit.statement_timeout` is the bound: raise it"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    })
    .await;
}
