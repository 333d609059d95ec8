//! What a person sees.

use std::time::Duration;

use time::macros::datetime;
use tokio::time::Instant;

use super::asked::Asked;
use super::report::{End, StatusReport};
use super::samples::Samples;

/// A worker that works, at the start of the interval.
const BEFORE: &str = r#"
claimgate_claims_admitted_total 1000
claimgate_decisions_total{kind="qr_code",decision="approve"} 900
claimgate_decisions_total{kind="qr_code",decision="reject"} 50
claimgate_attempts_total{api="intelligent_qr_code",outcome="assessed",reason=""} 950
claimgate_attempts_total{api="intelligent_qr_code",outcome="transient",reason="http_5xx"} 7
claimgate_attempt_duration_seconds_bucket{api="intelligent_qr_code",le="0.05"} 500
claimgate_attempt_duration_seconds_bucket{api="intelligent_qr_code",le="0.1"} 900
claimgate_attempt_duration_seconds_bucket{api="intelligent_qr_code",le="+Inf"} 957
claimgate_publish_aborts_total 1
claimgate_record_failures_total 0
claimgate_build_info{version="0.1.0",commit="4f1c2d3"} 1
"#;

/// The same worker, a second later.
const AFTER: &str = r#"
claimgate_claims_admitted_total 1130
claimgate_decisions_total{kind="qr_code",decision="approve"} 1018
claimgate_decisions_total{kind="qr_code",decision="reject"} 52
claimgate_attempts_total{api="intelligent_qr_code",outcome="assessed",reason=""} 1070
claimgate_attempts_total{api="intelligent_qr_code",outcome="transient",reason="http_5xx"} 9
claimgate_attempt_duration_seconds_bucket{api="intelligent_qr_code",le="0.05"} 600
claimgate_attempt_duration_seconds_bucket{api="intelligent_qr_code",le="0.1"} 1020
claimgate_attempt_duration_seconds_bucket{api="intelligent_qr_code",le="+Inf"} 1079
claimgate_assigned_partitions{topic="claims"} 6
claimgate_assigned_partitions{topic="retry"} 6
claimgate_breaker_open{api="intelligent_qr_code"} 0
claimgate_breaker_open{api="wechat_account"} 1
claimgate_breaker_access_denied{api="wechat_account"} 1
claimgate_concurrency{api="intelligent_qr_code"} 64
claimgate_concurrency{api="wechat_account"} 16
claimgate_concurrency{api="other"} 0
claimgate_calls_in_flight{api="intelligent_qr_code"} 5
claimgate_queued_claims{api="intelligent_qr_code"} 12
claimgate_queued_claims{api="wechat_account"} 40
claimgate_undecided_claims{api="intelligent_qr_code"} 17
claimgate_undecided_claims{api="wechat_account"} 240
claimgate_undecided_oldest_age_seconds{api="intelligent_qr_code"} 0.042
claimgate_undecided_oldest_age_seconds{api="wechat_account"} 7325.5
claimgate_deferred_claims{api="wechat_account"} 200
claimgate_deferred_next_due_timestamp_seconds{api="wechat_account"} 1798790412.25
claimgate_deferred_next_due_timestamp_seconds{api="intelligent_qr_code"} 0
claimgate_in_flight_claims 57
claimgate_intake_paused 0
claimgate_partition_lag_records{partition="claims/0"} 30
claimgate_partition_lag_records{partition="claims/1"} 27
claimgate_partition_lag_records{partition="retry/0"} 200
claimgate_postgres_connections{state="idle"} 3
claimgate_postgres_connections{state="in_use"} 1
claimgate_publish_aborts_total 3
claimgate_record_failures_total 0
claimgate_build_info{version="0.1.0",commit="4f1c2d3"} 1
"#;

fn asked(url: &str, at: Instant, ready: Result<(), &str>, metrics: Result<&str, &str>) -> Asked {
    let metrics = metrics.map_err(str::to_owned);
    Asked {
        url: url.to_owned(),
        at,
        ready: ready.map_err(str::to_owned),
        metrics: metrics.map(|text| Samples::parse(text).expect("samples")),
    }
}

fn report(rounds: [Vec<Asked>; 2]) -> StatusReport {
    let [before, after] = rounds;
    StatusReport::of(&before, &after, datetime!(2027-01-01 08:00:00.25 UTC))
}

/// One worker that works, one that is not ready, one that is away.
fn fleet() -> StatusReport {
    let began = Instant::now();
    let round = |at, works| {
        let idle = "claimgate_build_info{version=\"0.1.0\",commit=\"unknown\"} 1";
        let store = "store is not ready: PostgreSQL at db:5432/claimgate: connection refused";
        vec![
            asked("http://10.0.0.1:9464", at, Ok(()), Ok(works)),
            asked("http://10.0.0.2:9464", at, Err(store), Ok(idle)),
            asked("http://10.0.0.3:9464", at, Err("no route"), Err("no route\u{1b}[2J to host")),
        ]
    };
    report([round(began, BEFORE), round(began + Duration::from_secs(1), AFTER)])
}

#[test]
fn the_screen_of_a_fleet() {
    let report = fleet();
    assert_eq!(report.end(), End::Unasked);
    insta::assert_snapshot!("screen", report.text());
}

#[test]
fn the_json_of_a_fleet() {
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&fleet()).expect("JSON"));
}

#[test]
fn all_is_well_where_workers_are_ready_and_no_breaker_is_open() {
    let began = Instant::now();
    let one = |ready, text| {
        let round = |at, text| vec![asked("http://a", at, ready, Ok(text))];
        report([round(began, BEFORE), round(began + Duration::from_secs(1), text)])
    };
    let well: String = AFTER
        .lines()
        .filter(|line| !line.contains("wechat"))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(one(Ok(()), &well).end(), End::Well);
    assert_eq!(one(Err("group is not ready"), &well).end(), End::Wrong);
    assert_eq!(one(Ok(()), AFTER).wrong, ["wechat_account denies 1 of 1 workers access"]);
    let open = well.replace(
        "breaker_open{api=\"intelligent_qr_code\"} 0",
        "breaker_open{api=\"intelligent_qr_code\"} 1",
    );
    let open = one(Ok(()), &open);
    assert_eq!(open.wrong, ["the breaker of intelligent_qr_code is open at 1 of 1 workers"]);
    assert_eq!(open.end(), End::Wrong);
}

#[test]
fn another_service_is_no_worker() {
    let began = Instant::now();
    let round = || vec![asked("http://a", began, Ok(()), Ok("up 1\n"))];
    let report = report([round(), round()]);
    assert_eq!(report.end(), End::Unasked);
    assert!(report.wrong[0].contains("not as a claimgate worker"), "{:?}", report.wrong);
}
