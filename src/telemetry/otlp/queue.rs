//! Counts the spans or log lines that wait for their exporter, and those that find no place.
//!
//! Why this exists beside the queue of OpenTelemetry's library: the library drops silently what
//! does not fit. The invariant: the library gets no more than fits into its queue, so it never
//! drops anything; what it does not get is counted here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{BatchLogProcessor, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor};

/// How many entries wait for an exporter, and how many found no place.
#[derive(Debug)]
pub(super) struct Queue {
    size: usize,
    waiting: AtomicUsize,
    left_out: AtomicU64,
}

impl Queue {
    /// A queue with this many places.
    pub(super) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { size, waiting: AtomicUsize::new(0), left_out: AtomicU64::new(0) })
    }

    /// Takes a place. An entry that finds none is left out and counted.
    pub(super) fn enter(&self) -> bool {
        let take = |waiting: usize| (waiting < self.size).then_some(waiting + 1);
        let taken = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        if taken.is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// The exporter begins to export this many entries. Returns how many were left out since the
    /// last time.
    pub(super) fn leave(&self, begun: usize) -> u64 {
        self.waiting.fetch_sub(begun, Ordering::AcqRel);
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

/// A processor of the library that gets only what has a place.
#[derive(Debug)]
pub(super) struct Queued<P> {
    queue: Arc<Queue>,
    processor: P,
}

impl<P> Queued<P> {
    pub(super) fn new(queue: Arc<Queue>, processor: P) -> Self {
        Self { queue, processor }
    }
}

impl SpanProcessor for Queued<BatchSpanProcessor> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    /// The library ignores a span that is not sampled, so it takes no place.
    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.enter() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

impl LogProcessor for Queued<BatchLogProcessor> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.queue.enter() {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_is_counted_once() {
        let queue = Queue::new(2);
        let entered: Vec<_> = (0..5).map(|_| queue.enter()).collect();
        assert_eq!(entered, [true, true, false, false, false]);
        assert_eq!(queue.leave(1), 3);
        assert_eq!([queue.enter(), queue.enter()], [true, false]);
        assert_eq!((queue.leave(2), queue.leave(0)), (1, 0));
    }
}
