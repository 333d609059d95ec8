//! The views for readers who need no identities.

use claimgate::outbox::{Received, Store};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::audit::Office;
use super::build::{close, malformed};
use super::derived::record;
use super::{TestDatabase, with_database};

const PHONE: &str = "15912345687";
const OPENID: &str = "oPDER5U0VMARiyXxUruU4SYmyOiw";
const DEVICE: &str = "0f8fad5b-d9cb-469f";
const ADDRESS: &str = "121.14.96.121";

/// The number of rows of a relation that have a person's identity.
async fn with_identity(database: &TestDatabase, relation: &str) -> i64 {
    let stands = [PHONE, OPENID, DEVICE, ADDRESS].map(|identity| {
        format!(
            "row::text like '%{identity}%'
            or row::text like '%' || encode('{identity}', 'hex') || '%'"
        )
    });
    let stands = stands.join(" or ");
    let query = format!("select count(*) from {relation} as row where {stands}");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&database.pool).await.expect("a count")
}

#[tokio::test]
async fn nobodys_identity_is_in_a_masked_view() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let payload = json!({
            "claim_id": "a", "kind": "qr_code", "claimed_at": 1_632_994_480,
            "account": { "type": "wechat", "id": OPENID, "phone": PHONE },
            "client": { "ip": ADDRESS, "device_id": DEVICE },
            "reward": { "goods": "red packet", "merchant": "m-1" },
        });
        let payload = Some(payload.to_string().into_bytes());
        record(&office, &["a", "b"], |claim_id, received, _, calls| {
            if claim_id == "a" {
                received.payload = payload.clone();
            }
            calls[0].request = format!("GET /?uid={OPENID}&userIp={ADDRESS}&deviceId={DEVICE}");
            calls[0].response = Some(format!("{{\"uid\": \"{OPENID}\"}}").into_bytes());
        })
        .await;
        let (letter, why) = malformed(9);
        let letters = vec![(Received { payload: payload.clone(), ..letter }, why)];
        office.store.record(&close(letters, vec![])).await.expect("recorded");

        for view in ["select count(*) from masked_claims", "select count(*) from masked_calls"] {
            assert_eq!(database.number(view).await, 2, "{view}");
        }
        assert_eq!(database.number("select count(*) from masked_dead_letters").await, 1);
        for table in ["claim_events", "risk_calls", "dead_letters"] {
            assert!(with_identity(database, table).await > 0, "{table} shows what is looked for");
        }
        for view in ["masked_claims", "masked_calls", "masked_steps", "masked_dead_letters"] {
            assert_eq!(with_identity(database, view).await, 0, "{view}");
        }
        let query =
            "select concat_ws(' ', account_type, account_id, phone, network, merchant, goods)
            from masked_claims where claim_id = 'a'";
        let shown: String =
            sqlx::query_scalar(query).fetch_one(&database.pool).await.expect("a row");
        assert_eq!(shown, "wechat oPD***iw 159***87 121.14.96.0/24 m-1 red packet");
    })
    .await;
}

/// A type that any login may make. It gets each value that is cast to it, and refuses all.
const PLANTED: &str = "create domain pg_temp.jsonb as text check (false);
    create domain pg_temp.inet as text check (false);
    create domain pg_temp.name as text check (false)";

#[tokio::test]
async fn who_reads_a_masked_view_cannot_plant_a_type_in_it() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        record(&office, &["a"], |_, _, _, _| {}).await;
        let mut session = database.pool.acquire().await.expect("a connection");
        sqlx::raw_sql(PLANTED).execute(&mut *session).await.expect("anybody may");
        let query = "select concat_ws(' ', account_type, account_id, network) from masked_claims";
        let shown: String =
            sqlx::query_scalar(query).fetch_one(&mut *session).await.expect("a row");
        assert_eq!(shown, "phone 159***87 121.14.96.0/24");
        session.close().await.expect("closed, with what it planted");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_masked_is_left_out() {
    with_database(async |database| {
        let query =
            "select concat_ws('|', claimgate_masked('1234567'), claimgate_masked('12345678'),
            claimgate_network('2001:db8:1:2::3'), claimgate_network(E' 10.1.2.3\\t'),
            claimgate_network('::ffff:10.1.3.4'),
            claimgate_network('nowhere'), claimgate_network(''),
            claimgate_event('\\x00ff'), claimgate_event('{\"a\": 1}'),
            claimgate_event('\\xefbbbf7b7d'),
            claimgate_event(convert_to('{\"a\": \"\\u0000\"}', 'UTF8')))";
        let shown: String =
            sqlx::query_scalar(query).fetch_one(&database.pool).await.expect("a row");
        assert_eq!(shown, "***|123***78|2001:db8:1::/48|10.1.2.0/24|10.1.3.0/24|{\"a\": 1}|{}");
    })
    .await;
}

#[tokio::test]
async fn a_masked_claim_says_which_decision_is_in_force() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        record(&office, &["a", "b"], |_, _, _, _| {}).await;
        database
            .execute(
                "insert into revisions (claim_id, revision, decision, instead_of, revised_by,
                    reason)
                values ('a', 1, 'reject', 'approve', 'ann', 'x'),
                    ('a', 2, 'review', 'reject', 'ann', 'y')"
                    .to_owned(),
            )
            .await;
        let query =
            "select string_agg(claim_id || ' ' || decision_in_force, ', ' order by claim_id)
            from masked_claims where decision_in_force <> decision";
        let shown = async || {
            let shown: Option<String> =
                sqlx::query_scalar(query).fetch_one(&database.pool).await.expect("a row");
            shown
        };
        assert_eq!(shown().await, None, "a revision that is announced may never be published");
        for (revision, expected) in [(1, "a reject"), (2, "a review")] {
            let place = format!(
                "insert into revision_places (claim_id, revision, place_topic, place_partition,
                    place_offset, recorded_by) values ('a', {revision}, 't', 0, {revision}, 'ann')"
            );
            database.execute(place).await;
            assert_eq!(shown().await.as_deref(), Some(expected));
        }
    })
    .await;
}
