//! Whether a call may be made: what the limit and the breaker of an API answer.

use tokio::time::Instant;

/// Whether a call may be made now.
///
/// ```
/// use std::time::Duration;
/// use claimgate::assess::permit::Permit;
/// let now = tokio::time::Instant::now();
/// let later = now + Duration::from_secs(1);
/// assert_eq!(Permit::NotBefore(later).refused(), Some(Some(later)));
/// assert_eq!(Permit::Full.refused(), Some(None), "until a call under way has ended");
/// assert_eq!(Permit::Probe.refused(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Yes.
    Granted,
    /// Yes, as a probe of an open breaker.
    Probe,
    /// Not before this time.
    NotBefore(Instant),
    /// Not before a call under way has ended.
    Full,
}

impl Permit {
    /// `None` where a call may be made; else when to ask again, where time alone decides.
    pub fn refused(self) -> Option<Option<Instant>> {
        match self {
            Self::Granted | Self::Probe => None,
            Self::NotBefore(at) => Some(Some(at)),
            Self::Full => Some(None),
        }
    }
}
