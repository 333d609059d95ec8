//! Which layer of the subscriber sees which call sites.
//!
//! A layer's filter stores its answer per thread, and the next event or span of the thread reads
//! it. A call site that is cached as "always wanted" does not ask the filter, and so reads an
//! answer that was meant for another call site. After a library had asked whether it should log, as
//! sqlx does after every query, the next line or span was lost (tracing issue 2519). The invariant:
//! the filter is asked each time about every call site that a layer may want.

use tracing::Metadata;
use tracing::subscriber::Interest;
use tracing_subscriber::layer::{Context, Filter};

/// Lets through the call sites that match. It is asked each time.
pub(super) struct EachTime(pub(super) fn(&Metadata<'_>) -> bool);

impl<S> Filter<S> for EachTime {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        (self.0)(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if (self.0)(metadata) { Interest::sometimes() } else { Interest::never() }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;

    use super::*;

    /// Tests of lines and spans need this: they run beside other tests, whose subscribers give
    /// other answers.
    #[test]
    fn nothing_is_always_wanted() {
        let span = tracing::debug_span!("a span");
        let metadata = span.metadata().expect("a span has its call site's");
        let interest = |filter: EachTime| Filter::<Registry>::callsite_enabled(&filter, metadata);
        assert!(interest(EachTime(|metadata| metadata.is_span())).is_sometimes());
        assert!(interest(EachTime(|metadata| metadata.is_event())).is_never());
    }
}
