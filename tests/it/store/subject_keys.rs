//! Commands about a person report it if a key of some rows is missing.

use claimgate::audit::End;

use super::audit::{Office, keys};
use super::derived::record;
use super::with_database;

#[tokio::test]
async fn a_missing_key_is_reported_and_nothing_is_called_complete() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        let (old, new) = ("a key of our own", "a new key");
        record(&office, &["a"], |_, _, _, _| {}).await;
        for key in [old, new] {
            let id = keys(&[key]).current.id();
            let insert = sqlx::query("insert into subject_keys values ($1)");
            insert.bind(id).execute(&database.pool).await.expect("as a worker does at its start");
        }
        let questions = [
            "subject phone 15912345687",
            "search --ip 121.14.96.121 --since 1h",
            "erase phone 15912345687 --by ann --reason law --dry-run",
        ];
        office.keys = keys(&[new]);
        for question in questions {
            let (text, end) = office.answer(question).await;
            assert_eq!(end, End::Unverifiable, "{question}: {text}");
            assert!(text.contains("under keys that were not given (1)"), "{question}: {text}");
        }
        office.keys = keys(&[new, old]);
        for question in questions {
            let (text, end) = office.answer(question).await;
            assert_eq!(end, End::Found, "{question}: {text}");
            assert!(!text.contains("not given"), "{question}: {text}");
        }
        // What was found may not be all.
        office.keys = keys(&[old]);
        let (text, end) = office.answer(questions[2]).await;
        assert_eq!(end, End::Unverifiable, "{text}");
        let (text, end) = office.answer(questions[0]).await;
        assert!(end == End::Found && text.contains("not given (1)"), "{text}");
    })
    .await;
}
