//! Whether persons were hashed under keys that were not given: their rows are not found.

use crate::claim::{SubjectKey, SubjectKeys};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// The number of keys under which workers have hashed persons and that are not among these.
pub(in crate::audit) async fn missing_keys(
    store: &PostgresStore,
    keys: &SubjectKeys,
) -> Result<u64, StoreError> {
    let missing = sqlx::query_as("select count(*) from subject_keys where id <> all ($1)");
    let missing: Vec<(i64,)> = store.fetch(missing.bind(keys.each(SubjectKey::id))).await?;
    Ok(missing.first().map_or(0, |(count,)| count.unsigned_abs()))
}

/// The sentence about rows that an answer may lack because of that.
pub(in crate::audit) fn note(missing: u64) -> Option<String> {
    (missing > 0).then(|| {
        format!(
            "workers have hashed persons under keys that were not given ({missing}), and rows \
             under those were not found: audit.subject_key and audit.former_subject_keys take them"
        )
    })
}
