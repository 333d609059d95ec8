//! Log lines: which are printed, and how.
//!
//! Owns the filter and the format. The invariant: a line holds only what its own call site gave it.
//! This layer does not see spans, so no line repeats a claim's attributes and no span is formatted
//! in vain.

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt, reload};

use super::filter::EachTime;
use super::{LogFormat, TelemetryError};

/// Overrides `telemetry.log`.
const RUST_LOG: &str = "RUST_LOG";

/// The filter of the environment or, without one, of the configuration.
pub(super) fn filter(
    configured: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<EnvFilter, TelemetryError> {
    let (key, text) = match environment(RUST_LOG).filter(|text| !text.is_empty()) {
        Some(text) => (RUST_LOG, text),
        None => ("telemetry.log", configured.to_owned()),
    };
    EnvFilter::builder().parse(&text).map_err(|source| TelemetryError::Filter { key, text, source })
}

/// Changes the filter of a layer that is in use.
pub(super) type Change = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// A layer of any kind.
pub(super) type AnyLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Prints the events that pass `filter` and gives the same events to `exported`. The filter can be
/// changed later.
pub(super) fn layer<S, W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
    exported: Option<AnyLayer<S>>,
) -> (AnyLayer<S>, Change)
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let (filter, handle) = reload::Layer::new(filter);
    let change: Change = Box::new(move |filter| handle.reload(filter));
    let filter = filter.and(EachTime(|metadata| metadata.is_event()));
    let printed = fmt::layer().with_writer(writer);
    let printed: AnyLayer<S> = match format {
        LogFormat::Text => printed.boxed(),
        LogFormat::Json => {
            let printed = printed.json().flatten_event(true);
            printed.with_current_span(false).with_span_list(false).boxed()
        }
    };
    (printed.and_then(exported).with_filter(filter).boxed(), change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(rust_log: &'static str) -> impl Fn(&str) -> Option<String> {
        move |key| (key == RUST_LOG).then(|| rust_log.to_owned())
    }

    #[test]
    fn the_environment_overrides_the_configuration() {
        assert_eq!(filter("warn", environment("debug")).expect("valid").to_string(), "debug");
        assert_eq!(filter("warn", environment("")).expect("valid").to_string(), "warn");
    }

    #[test]
    fn a_filter_at_fault_is_named() {
        let configured =
            filter("claimgate=loud", environment("")).expect_err("no level").to_string();
        assert!(
            configured.starts_with("telemetry.log: \"claimgate=loud\" is not a log filter: "),
            "{configured}"
        );
        let environment =
            filter("info", environment("claimgate=loud")).expect_err("no level").to_string();
        assert!(environment.starts_with("RUST_LOG: "), "{environment}");
    }
}
