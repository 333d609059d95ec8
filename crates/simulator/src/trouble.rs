//! The faults of a call, and the forms of a verdict.

use std::time::Duration;

/// The faults of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// `code-N`: this provider code instead of a verdict.
    pub(super) code: Option<i64>,
    /// `http-N`: this HTTP status and no API answer.
    pub(super) status: Option<u16>,
    /// `hang` or `reset`: no answer at all.
    pub(super) silence: Option<Silence>,
    /// A verdict in another form than it should have.
    pub(super) shape: Shape,
    /// `slow-500ms`: the answer comes that much later.
    pub(super) slow: Duration,
}

/// The two ways of not answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// No answer until the client or the simulator closes the connection.
    Hang,
    /// The connection is reset.
    Reset,
}

/// How a verdict is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// As documented.
    #[default]
    Plain,
    /// `string-code`: the code as a JSON string.
    StringCode,
    /// `level-space`: the key `"level "`, as four of the provider's pages print it.
    LevelSpace,
    /// `no-level`: code 0, but the essential part is missing.
    NoLevel,
    /// `html`: an HTML page with status 200.
    Html,
    /// `truncated`: half the JSON text.
    Truncated,
    /// `inner-truncated`: WeChat's inner JSON lacks its last brace, as in the provider's own
    /// sample.
    InnerTruncated,
    /// `inner-object`: WeChat's `data` is an object instead of a string.
    InnerObject,
    /// `empty`: no body, status 200.
    Empty,
    /// `big`: the verdict within 300 kB of JSON.
    Big,
    /// `cut`: the connection breaks in the middle of the body.
    Cut,
}

impl Shape {
    /// Whether a tolerant client can still read the verdict.
    pub(super) fn is_readable(self) -> bool {
        matches!(
            self,
            Self::Plain | Self::StringCode | Self::LevelSpace | Self::InnerObject | Self::Big
        )
    }
}
