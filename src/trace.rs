//! W3C trace context: from the headers of a claim into those of its decision.
//!
//! Pure: ids are arguments. A `traceparent` that is not well-formed is ignored, as the
//! specification asks (<https://www.w3.org/TR/trace-context/>, section 3.2).
//!
//! ```
//! use claimgate::trace::TraceContext;
//!
//! let sent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
//! let context = TraceContext::parse(sent, None).expect("version 00");
//! assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
//! assert_eq!(context.traceparent().as_bytes(), sent);
//! ```

/// The headers that carry the context.
pub const TRACEPARENT: &str = "traceparent";
/// Vendor-specific data beside [`TRACEPARENT`], passed on unchanged.
pub const TRACESTATE: &str = "tracestate";
/// Producers' data for later services, passed on if `telemetry.baggage` says so.
pub const BAGGAGE: &str = "baggage";
/// The size in bytes up to which baggage has to be passed on by its specification.
const BAGGAGE_MAX: usize = 8_192;
/// The specification's bound on `tracestate`, in characters; a longer one is dropped as a whole.
const TRACESTATE_MAX: usize = 512;

/// A claim's place in a distributed trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's id, never 0.
    pub trace_id: u128,
    /// The span that is the parent of what follows, never 0.
    pub span_id: u64,
    /// Bit 0: sampled.
    pub flags: u8,
    /// `tracestate`, if it was given.
    pub state: Option<String>,
    /// The [baggage] that is passed on, if there is any.
    pub baggage: Option<String>,
}

impl TraceContext {
    /// The context of a claim that came without one. `seed` is random.
    pub fn fresh(seed: u128) -> Self {
        // The low bit keeps both ids from being 0, which the specification forbids.
        let span_id = u64::try_from(seed >> 64).unwrap_or(1) | 1;
        Self { trace_id: seed | 1, span_id, flags: 0, state: None, baggage: None }
    }

    /// Reads `traceparent` and `tracestate`.
    pub fn parse(traceparent: &[u8], tracestate: Option<&[u8]>) -> Option<Self> {
        let text = std::str::from_utf8(traceparent).ok()?;
        let mut parts = text.split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex =
            |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let whole = [(version, 2), (trace_id, 32), (span_id, 16), (flags, 2)];
        if whole.iter().any(|(part, length)| part.len() != *length || !lower_hex(part))
            || version == "ff"
        {
            return None;
        }
        if version == "00" && parts.next().is_some() {
            return None;
        }
        let trace_id = u128::from_str_radix(trace_id, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span_id, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let state = tracestate.and_then(|state| std::str::from_utf8(state).ok()).filter(|state| {
            !state.is_empty()
                && state.len() <= TRACESTATE_MAX
                && !state.contains(['\0', '\r', '\n'])
        });
        Some(Self { trace_id, span_id, flags, state: state.map(str::to_owned), baggage: None })
    }

    /// The `traceparent` header's value.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// The trace's id as 32 hex digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// A trace's id from the 32 hex digits that [`TraceContext::trace_id`] writes.
pub fn parse_trace_id(digits: &str) -> Option<u128> {
    let id = u128::from_str_radix(digits, 16).ok()?;
    (format!("{id:032x}") == digits).then_some(id)
}

/// The part of a `baggage` header that is passed on: the entries with these keys, or all if one is
/// `*`. Entries that are malformed, or no longer fit into 8192 bytes, are left out
/// (<https://www.w3.org/TR/baggage/>).
pub fn baggage(header: &[u8], keys: &[String]) -> Option<String> {
    let header = std::str::from_utf8(header).ok().filter(|_| !keys.is_empty())?;
    let mut passed = String::new();
    for entry in header.split(',').map(str::trim) {
        let key = entry.split_once('=').map_or("", |(key, _)| key.trim());
        let is_wanted = keys.iter().any(|wanted| wanted == "*" || wanted == key);
        let is_sound = !key.is_empty() && entry.bytes().all(|b| (b' '..=b'~').contains(&b));
        if is_wanted && is_sound && passed.len() + 1 + entry.len() <= BAGGAGE_MAX {
            if !passed.is_empty() {
                passed.push(',');
            }
            passed.push_str(entry);
        }
    }
    (!passed.is_empty()).then_some(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(header: &str, keys: &[&str]) -> Option<String> {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        baggage(header.as_bytes(), &keys)
    }

    #[test]
    fn baggage_goes_on_by_its_keys() {
        let header = "tenant=acme;ttl=3, user=o-1234 ,odd,=none,region=eu";
        assert_eq!(passed(header, &[]), None);
        assert_eq!(passed(header, &["other"]), None);
        let chosen = passed(header, &["region", "tenant"]);
        assert_eq!(chosen.as_deref(), Some("tenant=acme;ttl=3,region=eu"));
        let all = passed(header, &["*"]);
        assert_eq!(all.as_deref(), Some("tenant=acme;ttl=3,user=o-1234,region=eu"));
        assert_eq!(passed("a=1\r\nb: 2,c=3", &["*"]).as_deref(), Some("c=3"));
    }

    #[test]
    fn baggage_has_the_bound_of_its_specification() {
        let large = format!("a={},b=1,c={}", "x".repeat(5_000), "y".repeat(5_000));
        let passed = passed(&large, &["*"]).expect("what fits");
        assert!(passed.ends_with(",b=1") && passed.len() <= BAGGAGE_MAX, "{}", passed.len());
    }

    const GIVEN: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_given_context_is_passed_on_unchanged() {
        let context = TraceContext::parse(GIVEN, Some(b"vendor=1")).expect("well-formed");
        assert_eq!(context.traceparent().as_bytes(), GIVEN);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.state.as_deref(), Some("vendor=1"));
    }

    #[test]
    fn a_malformed_context_is_ignored() {
        let malformed: [&[u8]; 7] = [
            b"",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            b"\xff\x00",
        ];
        for traceparent in malformed {
            assert_eq!(
                TraceContext::parse(traceparent, None),
                None,
                "{}",
                traceparent.escape_ascii()
            );
        }
    }

    #[test]
    fn a_fresh_context_has_no_zero_ids() {
        let context = TraceContext::fresh(0);
        assert!(context.trace_id != 0 && context.span_id != 0);
        assert_eq!(TraceContext::parse(context.traceparent().as_bytes(), None), Some(context));
    }
}
