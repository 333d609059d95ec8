//! HTTP answers, and the malformed forms of them.

use super::trouble::Shape;

const PLAIN: &str = "text/plain; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// The size of a body with the word `big`.
const BIG: usize = 300_000;

/// The reply to the client.
pub(super) enum Sending {
    Reply(Reply),
    Hang,
    Reset,
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) retry_after: Option<u64>,
    pub(super) body: String,
    /// The connection breaks after half of the body.
    pub(super) cut: bool,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<String>) -> Self {
        Self { status, content_type, retry_after: None, body: body.into(), cut: false }
    }

    pub(super) fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, PLAIN, body)
    }
}

/// A verdict's body in the shape that is asked for; the API itself has seen to the shapes of its
/// keys and values.
pub(super) fn shaped(mut reply: Reply, shape: Shape) -> Sending {
    let half = |body: &str| body.floor_char_boundary(body.len() / 2);
    match shape {
        Shape::Html => {
            reply = Reply::new(
                200,
                HTML,
                "<!DOCTYPE html><html><body>Welcome to the Wi-Fi</body></html>",
            )
        }
        Shape::Truncated => reply.body.truncate(half(&reply.body)),
        Shape::Empty => reply.body.clear(),
        Shape::Cut => reply.cut = true,
        Shape::Big if reply.body.ends_with('}') => {
            reply.body.pop();
            reply.body.push_str(",\"padding\":\"");
            reply.body.extend(std::iter::repeat_n('x', BIG.saturating_sub(reply.body.len() + 2)));
            reply.body.push_str("\"}");
        }
        Shape::Big => {
            reply.body.extend(std::iter::repeat_n(' ', BIG.saturating_sub(reply.body.len())))
        }
        _ => {}
    }
    Sending::Reply(reply)
}
