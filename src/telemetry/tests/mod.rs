//! What a collector and a scraper get, seen by a collector in memory and a recorder of the test.

mod metered;
mod quiet;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SpanData, SpanExporter};

use super::metrics::{ALL, Kind};
use super::otlp::watched::Watched;
use super::*;
use crate::claim::EventError;
use crate::decision::Decision;
use crate::kafka::{Input, Partition};
use crate::risk::{AttemptOutcome, FaultReason, FetchOutcome};

/// A collector that rejects exports.
#[derive(Debug)]
struct Refuses;

impl SpanExporter for Refuses {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Err(OTelSdkError::InternalFailure("no".to_owned()))
    }
}

#[test]
fn spans_that_are_lost_are_counted() {
    let recorder = metrics::builder().expect("valid buckets").build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        let exporter = Watched::new(Signal::Traces, Refuses, "http://collector");
        let sink = spans::tests::sink(Sampler::AlwaysOn, exporter);
        spans::tests::export_one(&Spans::on(Arc::new(sink), "claimgate", Keep::default()));
    });
    let rendered = recorder.handle().render();
    assert!(rendered.lines().any(|line| line == "claimgate_spans_lost_total 1"), "{rendered}");
}
