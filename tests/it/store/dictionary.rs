//! `docs/schema.md`, made of the tables themselves and of their comments.

use std::fmt::Write as _;

use super::with_database;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.md");
const HEAD: &str = "# The tables

Every table, view and column, in the words of its comment in PostgreSQL. Made by
`store::dictionary`: do not edit. [Audit](audit.md) says what they are for, and who may do what with
them.

```text
              policies                    what decided
                 │ policy_version
claim_events ─ verdicts ─ risk_calls      what came in, what was decided, what the APIs said
     claim_id    │ claim_id
              revisions ─ revision_places what people decided in its place, and where that is
dead_letters ─ dead_letter_replays ─ dead_letter_replay_places
seals ─ removals ─ removed_rows           whether rows are as they were written; what was removed
token_exchanges, republications, decision_counts, shadow_decisions, subject_keys
masked_claims, masked_calls, masked_steps, masked_dead_letters
                                          views: the same without the people in it
```
";

/// Tables and views with their comments; then columns with type, whether they may be null, and
/// comment.
const TABLES: &str = "select relname::text, coalesce(obj_description(oid), '')
    from pg_class where relnamespace = current_schema()::regnamespace
        and relkind in ('r', 'p', 'v') and not relispartition and relname !~ '^_sqlx' order by oid";
const COLUMNS: &str = "select attname::text, format_type(atttypid, atttypmod),
        attnotnull or (select relkind = 'v' from pg_class where oid = attrelid),
        coalesce(col_description(attrelid, attnum), '')
    from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped
    order by attnum";

#[tokio::test]
async fn the_page_is_made_of_the_tables() {
    with_database(async |database| {
        let (mut page, mut missing) = (HEAD.to_owned(), Vec::new());
        let tables: Vec<(String, String)> =
            sqlx::query_as(TABLES).fetch_all(&database.pool).await.expect("the tables");
        for (table, about) in tables {
            assert!(!about.is_empty(), "{table} has no comment");
            write!(page, "\n## {table}\n\n{about}\n\n| column | type | meaning |\n").expect("text");
            page.push_str("| --- | --- | --- |\n");
            let columns: Vec<(String, String, bool, String)> = sqlx::query_as(COLUMNS)
                .bind(&table)
                .fetch_all(&database.pool)
                .await
                .expect("the columns");
            for (column, of, is_required, about) in columns {
                if about.is_empty() {
                    missing.push(format!("{table}.{column}"));
                }
                let of = of.replace("timestamp with time zone", "timestamptz");
                let null = if is_required { "" } else { ", or null" };
                let about = about.replace('|', "\\|");
                writeln!(page, "| `{column}` | {of}{null} | {about} |").expect("text");
            }
        }
        assert!(missing.is_empty(), "without a comment: {missing:?}");
        if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            std::fs::write(PAGE, &page).expect("written");
        }
        let there = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(
            there == page,
            "docs/schema.md is not what the tables say: run this test with INSTA_UPDATE=always"
        );
    })
    .await;
}
