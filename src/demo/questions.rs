//! What an auditor asks: some questions in SQL, with their answers.

use comfy_table::Table;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::report::{section, table};

/// A question and the SQL that answers it. Every column of the answer is text.
struct Question {
    text: &'static str,
    sql: &'static str,
    columns: &'static [&'static str],
}

/// The claim that the first two questions are about: one that was refused, and not at the first attempt.
const REFUSED: &str = "select claim_id from verdicts where decision = 'reject' order by attempts desc, claim_id limit 1";

const QUESTIONS: [Question; 4] = [
    Question {
        text: "Why was claim $1 refused?",
        sql: "select decision, coalesce(level::text, ''), reasons::text, api || ' (' || api_schema || ')', attempts::text, left(policy_version, 19)
            from verdicts where claim_id = $1",
        columns: &["decision", "level", "reasons", "API", "attempts", "policy"],
    },
    Question {
        text: "And what did the API say about claim $1, word for word?",
        sql: "select attempt::text, to_char(requested_at, 'HH24:MI:SS.MS'), round(extract(epoch from latency) * 1000)::text || ' ms',
                coalesce(http_status::text, ''), outcome || coalesce(' ' || nullif(reason, ''), ''),
                coalesce(left(convert_from(response, 'UTF8'), 120), '')
            from risk_calls where claim_id = $1 order by requested_at",
        columns: &["attempt", "at", "took", "HTTP", "outcome", "response"],
    },
    Question {
        text: "Which claims did no API assess, and what was the last that was heard?",
        sql: "select v.claim_id, v.api, v.attempts::text, r ->> 'name', coalesce(r ->> 'value', ''), v.decision
            from verdicts v, jsonb_array_elements(v.reasons) r where r ->> 'code' = 'unassessed' and $1::text is not null
            order by v.attempts desc, v.claim_id limit 6",
        columns: &["claim", "API", "attempts", "last heard", "code", "decision"],
    },
    Question {
        text: "Whose claim was lost behind an id that was taken?",
        sql: "select source_topic || '/' || source_partition || '/' || source_offset, error_field, left(detail, 110)
            from dead_letters where error = 'claim_id_conflict' and $1::text is not null
            order by received_at limit 3",
        columns: &["event", "field", "what is wrong"],
    },
];

/// Asks them all.
///
/// # Errors
/// One sentence, if PostgreSQL does not answer.
pub(super) async fn ask(pool: &PgPool) -> Result<(), String> {
    let answer = async {
        let refused: String = sqlx::query_scalar(REFUSED).fetch_optional(pool).await?.unwrap_or_default();
        for question in &QUESTIONS {
            let rows = sqlx::query(question.sql).bind(&refused).fetch_all(pool).await?;
            section(&question.text.replace("$1", &refused));
            println!("{}", answer(question, &rows)?);
        }
        Ok(())
    };
    answer.await.map_err(|error: sqlx::Error| format!("a question to PostgreSQL was not answered: {error}"))
}

fn answer(question: &Question, rows: &[PgRow]) -> sqlx::Result<Table> {
    let mut answer = table(question.columns);
    for row in rows {
        let cells: sqlx::Result<Vec<String>> = (0..question.columns.len()).map(|column| row.try_get(column)).collect();
        answer.add_row(cells?);
    }
    Ok(answer)
}
