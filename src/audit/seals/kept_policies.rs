//! Whether the policies that are kept have the text of which their version is the hash.
//!
//! No seal covers them. A constraint refuses another text, but the owner of the table can drop it.

use super::matching::{Fault, SealFinding};
use crate::decision::Policy;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// The policies whose text was altered.
pub(super) async fn altered(store: &PostgresStore) -> Result<Vec<SealFinding>, StoreError> {
    let kept = sqlx::query_as("select version, content from policies order by version, used");
    let kept: Vec<(String, String)> = store.fetch(kept).await?;
    Ok(kept.into_iter().filter_map(|(version, content)| altered_one(version, &content)).collect())
}

fn altered_one(version: String, content: &str) -> Option<SealFinding> {
    let derived = Policy::version_of(content);
    (derived != version).then(|| SealFinding {
        fault: Fault::Altered,
        table: "policies",
        row: version,
        seal: None,
        detail: format!("its text has the hash {derived}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_named_whose_text_is_another() {
        let version = Policy::version_of("{}");
        assert_eq!(altered_one(version.clone(), "{}"), None);
        let found = altered_one(version.clone(), "{} ").expect("a finding");
        assert_eq!((found.fault, found.table, found.row), (Fault::Altered, "policies", version));
    }
}
