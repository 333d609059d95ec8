//! What a scraper gets.

use super::*;

#[test]
fn every_metric_is_described_and_recorded() {
    let recorder = metrics::builder().expect("valid buckets").build_recorder();
    ::metrics::with_local_recorder(&recorder, record_everything);
    let rendered = recorder.handle().render();
    for metric in ALL {
        let name = metric.name;
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        for line in [format!("# HELP {name} {}", metric.help), format!("# TYPE {name} {kind}")] {
            assert!(
                rendered.lines().any(|rendered| rendered == line),
                "no {line:?} in\n{rendered}"
            );
        }
        for label in metric.labels {
            let labelled =
                |line: &str| line.starts_with(name) && line.contains(&format!("{label}=\""));
            assert!(rendered.lines().any(labelled), "no {name} has the label {label}");
        }
    }
}

fn record_everything() {
    metrics::describe();
    let meter = Meter::new(&["qr_code"], &["intelligent_qr_code"]);
    let latency = Duration::from_millis(3);
    meter.admitted(2);
    meter.decided("qr_code", Decision::Review, latency);
    meter.dead_letter(EventError::NotJson);
    meter.duplicate();
    meter.recalled();
    meter.stale_result();
    meter.attempt(
        "intelligent_qr_code",
        AttemptOutcome::Transient,
        Some(FaultReason::Timeout),
        latency,
    );
    meter.retry("intelligent_qr_code");
    meter.token_fetch(FetchOutcome::Fetched);
    meter.flush(2);
    meter.recorded(latency);
    meter.record_failed();
    meter.published(latency);
    meter.publish_aborted();
    meter::unpublishable("decisions");
    shadow_rules(&["intelligent_qr_code"]);
    shadow_differs("intelligent_qr_code", Decision::Review, Decision::Reject);
    shadow_decisions_lost(1);
    meter.in_flight(2, latency);
    meter.queued("intelligent_qr_code", 1);
    meter.calls("intelligent_qr_code", 3, 64);
    meter.first_attempt("intelligent_qr_code", latency);
    meter.undecided(Some("intelligent_qr_code"), Undecided { claims: 1, ..Undecided::default() });
    meter.token_age("WeChat", Some(latency));
    meter.paused(true);
    meter.flood(true);
    meter.assigned([Partition::claims(0), Partition::claims(1), Partition::retry(0)].into_iter());
    meter.offset_map(Partition::claims(3), 17);
    let intake = IntakeMeter::default();
    intake.records_lost(Input::Claims, 3);
    intake.read_again(Input::Retry, 2);
    intake.held_up(latency);
    meter.partition(Partition::claims(3), 17, latency);
    PoolMeter::default().set(1, 2);
    drop(Process::new(1));
}

#[test]
fn a_label_that_was_not_foreseen_is_counted_as_other() {
    let recorder = metrics::builder().expect("valid buckets").build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        let meter = Meter::new(&["qr_code"], &[] as &[&str]);
        meter.decided("qr_code", Decision::Approve, Duration::ZERO);
        meter.decided("made up", Decision::Reject, Duration::ZERO);
    });
    let rendered = recorder.handle().render();
    for line in [
        "claimgate_decisions_total{kind=\"qr_code\",decision=\"approve\"} 1",
        "claimgate_decisions_total{kind=\"other\",decision=\"reject\"} 1",
        "claimgate_claim_duration_seconds_count 2",
    ] {
        assert!(rendered.lines().any(|rendered| rendered == line), "no {line:?} in\n{rendered}");
    }
    assert!(!rendered.contains("made up"));
}

#[test]
fn what_a_policy_in_shadow_may_differ_in_begins_at_0() {
    let recorder = metrics::builder().expect("valid buckets").build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        shadow_rules(&["mini_program"]);
        shadow_differs("mini_program", Decision::Approve, Decision::Reject);
    });
    let rendered = recorder.handle().render();
    let lines = || rendered.lines().filter(|line| line.contains("api=\"mini_program\""));
    assert_eq!(lines().count(), 12, "{rendered}");
    let counted: Vec<_> = lines().filter(|line| !line.ends_with(" 0")).collect();
    let expected = "claimgate_shadow_differences_total{api=\"mini_program\",\
                    decision=\"approve\",shadow=\"reject\"} 1";
    assert_eq!(counted, [expected]);
}

#[test]
fn assigned_partitions_are_counted_by_topic() {
    let recorder = metrics::builder().expect("valid buckets").build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        let meter = Meter::new(&[] as &[&str], &[] as &[&str]);
        meter.assigned(
            [Partition::claims(0), Partition::claims(7), Partition::retry(0)].into_iter(),
        );
    });
    let text = recorder.handle().render();
    for line in [
        "claimgate_assigned_partitions{topic=\"claims\"} 2",
        "claimgate_assigned_partitions{topic=\"retry\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}
