//! Whether a call may be made: what the limit and the breaker of an API answer.

use tokio::time::Instant;

/// Whether a call may be made now.
///
/// ```
/// use std::time::Duration;
/// use claimgate::assess::permit::Permit;
/// let now = tokio::time::Instant::now();
/// let later = now + Duration::from_secs(1);
/// assert_eq!(Permit::NotBefore(later).granted(), Err(Some(later)));
/// assert_eq!(Permit::Full.granted(), Err(None), "until a call under way has ended");
/// assert_eq!(Permit::Probe.granted(), Ok(()));
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
    /// Whether a call may be made.
    ///
    /// # Errors
    /// No call may be made now: when to ask again, where time alone decides.
    pub fn granted(self) -> Result<(), Option<Instant>> {
        match self {
            Self::Granted | Self::Probe => Ok(()),
            Self::NotBefore(at) => Err(Some(at)),
            Self::Full => Err(None),
        }
    }
}
