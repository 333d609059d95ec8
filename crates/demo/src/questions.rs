//! Some questions of `claimgate audit`, with their answers from the demo's database.

use super::evidence::Evidence;
use super::report::section;
use super::stage::Stage;
use claimgate::audit::{
    AuditError, Reader, Report, claim_story, kept_policies, source_file, unassessed_claims, verify,
};
use claimgate::claim::{SubjectKey, SubjectKeys};
use claimgate::decision::Decision;
use claimgate::outbox::postgres::{PostgresStore, Settings};
use claimgate::schema::Verdict;

/// How far back a demo can go.
const SINCE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// How many lines of an answer are printed.
const LINES: usize = 40;
/// How many characters of a line.
const WIDTH: usize = 140;

/// Asks them all.
///
/// # Errors
/// One sentence, if PostgreSQL does not answer.
pub(super) async fn ask(stage: &Stage, evidence: &Evidence) -> Result<(), String> {
    let store = PostgresStore::lazy(&Settings::at(stage.postgres.url()))
        .map_err(|error| error.to_string())?;
    let asked = answer(&store, stage, evidence).await;
    store.close().await;
    asked.map_err(|error| format!("a question to PostgreSQL was not answered: {error}"))
}

async fn answer(
    store: &PostgresStore,
    stage: &Stage,
    evidence: &Evidence,
) -> Result<(), AuditError> {
    if let Some(row) = rejected(&evidence.tables.verdicts) {
        let claim_id = &row.claim_id;
        section(&format!("Why was this claim rejected?   claimgate audit claim {claim_id}"));
        // All claims of the demo are decided, so `give_up_after` does not matter.
        print(&claim_story(store, claim_id, SINCE).await?);
        section(&format!(
            "Does the answer that is kept lead to that decision?   claimgate audit verify \
             {claim_id}"
        ));
        let (registry, policy) = &stage.risk_apis;
        let kept = kept_policies(store).await?;
        let subject_keys = &SubjectKeys { current: SubjectKey::new(None), former: vec![] };
        let reader = Reader { registry, policy, kept: &kept, subject_keys };
        print(&verify(store, reader, claim_id, SINCE).await?);
    }
    section("Which claims did no risk API assess?   claimgate audit unassessed --limit 5");
    print(&unassessed_claims(store, SINCE, 5).await?);
    if let Some(row) =
        evidence.tables.dead_letters.iter().find(|row| row.error == "claim_id_conflict")
    {
        let source = row.id.source.clone();
        section(&format!("What became of this event?   claimgate audit source {source}"));
        print(&source_file(store, source).await?);
    }
    Ok(())
}

/// A rejected claim, with several attempts if there is one.
fn rejected(verdicts: &[Verdict]) -> Option<&Verdict> {
    verdicts.iter().filter(|row| row.decision == Decision::Reject).max_by_key(|row| row.attempts)
}

fn print(report: &impl Report) {
    let text = report.text();
    for line in text.lines().take(LINES) {
        match line.char_indices().nth(WIDTH) {
            Some((end, _)) => println!("{} …", &line[..end]),
            None => println!("{line}"),
        }
    }
    if text.lines().count() > LINES {
        println!("…");
    }
}
