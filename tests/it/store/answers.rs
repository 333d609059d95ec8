//! The forms of an answer, over the real tables: CSV that programs read back.

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::decision::{Decision, Reason};
use claimgate::outbox::{Call, RecordOutcome, Store};
use claimgate::schema::Verdict;

use super::audit::{ANSWER, Office, honest};
use super::build::{assessed, call, close, event};
use super::with_database;

/// Rows of CSV by the names of their columns.
pub(super) struct Csv {
    columns: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

impl Csv {
    /// Asks for an answer as CSV.
    pub(super) async fn of(office: &Office, line: &str) -> Self {
        let (out, _) = office.ask(&format!("{line} --format csv")).await;
        let mut reader = csv::Reader::from_reader(out.as_bytes());
        let columns = reader.headers().expect("a header").iter().map(str::to_owned).collect();
        Self { columns, rows: reader.records().collect::<Result<_, _>>().expect("rows") }
    }

    /// The value of a column in each row.
    pub(super) fn column(&self, name: &str) -> Vec<&str> {
        let place = self.columns.iter().position(|column| column == name);
        let place = place.unwrap_or_else(|| panic!("{name} in {:?}", self.columns));
        self.rows.iter().map(|row| &row[place]).collect()
    }
}

#[tokio::test]
async fn a_list_that_a_limit_cuts_says_so() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let unassessed = |(n, claim_id): (i64, &str)| {
            let reasons = vec![Reason::new("unassessed", None, Some("timeout"))];
            assessed(Verdict { reasons, ..honest(&office, claim_id, n).0 })
        };
        let records = (1..).zip(["a", "b", "c"]).map(unassessed).collect();
        let requested_at = honest(&office, "a", 1).1.requested_at;
        let waiting = ["d", "e", "f"].map(|claim_id| Call { requested_at, ..call(claim_id) });
        office.store.record(&close(records, waiting.to_vec())).await.expect("recorded");
        for question in
            ["subject phone 15912345687", TRACE, "unassessed", "undecided", "rederive", VERIFY]
        {
            let (text, _) = office.ask(&format!("{question} --limit 2")).await;
            assert!(text.contains("2; there are more: raise --limit"), "{question}: {text}");
            let (text, _) = office.ask(&format!("{question} --limit 9")).await;
            assert!(!text.contains("there are more"), "{question}: {text}");
            if question == "undecided" {
                // Verification reports altered rows.
                let altered = "begin; set local session_replication_role = replica;
                    update risk_calls set request = 'other'; commit";
                database.execute(altered).await;
            }
        }
    })
    .await;
}

/// All claims of a test stand in this trace.
const TRACE: &str = "trace 4bf92f3577b34da6a3ce929d0e0e4736";
const VERIFY: &str = "verify --all";

#[tokio::test]
async fn csv_has_a_header_and_one_exact_record_a_row() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let (verdict, answered) = honest(&office, "a,\"1\"", 1);
        let reasons = vec![Reason::new("unassessed", Some(13), Some("balance"))];
        let unassessed = Verdict {
            decision: Decision::Review,
            reasons,
            challenge: None,
            ..honest(&office, "=b\n", 2).0
        };
        let dead = DeadLetterReason::field(EventError::WrongType, "account.id", "no text");
        let dead = (event(3), RecordOutcome::DeadLettered(dead));
        let (requested_at, response) = (answered.requested_at, Some(b"\xff".to_vec()));
        let waiting = Call { requested_at, response, ..call("waiting") };
        let records = vec![assessed(verdict), assessed(unassessed), dead];
        office.store.record(&close(records, vec![answered, waiting])).await.expect("recorded");

        let subject = Csv::of(&office, "subject phone 15912345687").await;
        let mut ids = subject.column("claim_id");
        ids.sort_unstable();
        assert_eq!(ids, ["=b\n", "a,\"1\""]);
        assert!(subject.column("reasons")[0].starts_with(r#"[{"code":"#));
        assert_eq!(subject.column("risk_types")[0], "[101,-7,2147483647]");
        assert_eq!(subject.column("claimed_at")[0], "9999-12-31T23:59:59Z");
        assert!(subject.column("challenge").contains(&""), "NULL is an empty field");

        let calls = Csv::of(&office, "claim waiting").await;
        assert_eq!(calls.column("body_base64"), ["/w=="]);
        let story = Csv::of(&office, "claim a,\"1\"").await;
        assert_eq!(story.column("step"), ["received", "called", "decided", "recorded"]);
        assert_eq!(story.column("body")[1].as_bytes(), ANSWER);
        assert_eq!(story.column("outcome"), ["", "assessed", "", ""]);
        for (line, column, value) in [
            ("decisions", "claims", "1"),
            ("unassessed", "reason", "balance"),
            ("undecided", "claim_id", "waiting"),
            ("source reward.claims/3/1", "became", "verdict"),
            ("source reward.claims/3/3", "error_field", "account.id"),
            ("verify a,\"1\"", "finding", "differs"),
        ] {
            assert_eq!(Csv::of(&office, line).await.column(column)[0], value, "{line}");
        }
        assert!(Csv::of(&office, "rederive").await.column("finding").contains(&"differs"));
        assert!(Csv::of(&office, "retention --dry-run").await.column("action").is_empty());
        let (out, found) = office.ask("claim none --format csv").await;
        assert!(!found && out.lines().count() == 1, "the header alone: {out}");
    })
    .await;
}

#[tokio::test]
async fn json_has_two_names_on_the_command_line() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let asked = [office.ask("undecided --json").await, office.ask("--json undecided").await];
        assert_eq!(asked[0], asked[1]);
        assert_eq!(office.ask("undecided --format json").await, asked[0]);
        assert_eq!(office.ask("undecided --format text").await, office.ask("undecided").await);
    })
    .await;
}

#[tokio::test]
async fn a_table_is_exported_whole() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let (verdict, answered) = honest(&office, "a,\"1\"\n", 1);
        let response = Some(b"\xff\0".to_vec());
        let call = Call { response, ..answered };
        let dead = DeadLetterReason::field(EventError::WrongType, "account.id", "no text");
        let dead = (event(3), RecordOutcome::DeadLettered(dead));
        let records = vec![assessed(verdict), dead];
        office.store.record(&close(records, vec![call])).await.expect("recorded");
        let read = async |question: &str| {
            let (out, found) = office.ask(question).await;
            assert!(found);
            let mut reader = csv::Reader::from_reader(out.as_bytes());
            let columns = reader.headers().expect("a header").iter().map(str::to_owned).collect();
            Csv { columns, rows: reader.records().collect::<Result<_, _>>().expect("rows") }
        };
        assert_eq!(read("export verdicts --since 24h").await.column("claim_id"), ["a,\"1\"\n"]);
        assert_eq!(read("export calls --since 24h").await.column("response"), ["\\xff00"]);
        let seals = read("export verdicts --since 24h").await;
        let of_call = read("export calls --since 24h").await;
        assert!(seals.column("seal")[0].parse::<i64>().is_ok_and(|seal| seal > 1));
        assert_eq!(seals.column("seal"), of_call.column("seal"), "written together");
        let always = "--since 2026-01-01T00:00:00Z";
        assert_eq!(
            read(&format!("export dead-letters {always}")).await.column("error"),
            ["wrong_type"]
        );
        assert_eq!(read(&format!("export events {always}")).await.rows.len(), 1);
        assert!(read("export verdicts --since 24h --until 1h").await.rows.is_empty());
    })
    .await;
}
