//! Makes an HTTP response from a reply, cut off if requested.

use super::reply::Reply;
use axum::body::{self, Body};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::response::Response;
use futures::{Stream, StreamExt, stream};
use std::io;

pub(super) fn respond(reply: Reply) -> Response {
    let length = reply.body.len();
    let body = if reply.cut {
        Body::from_stream(broken_off(body::Bytes::from(reply.body).slice(..length / 2)))
    } else {
        Body::from(reply.body)
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, axum::http::HeaderValue::from_static(reply.content_type));
    if reply.cut {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if let Some(seconds) = reply.retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A body that ends in an error; the pause lets the server send what comes before it.
fn broken_off(start: body::Bytes) -> impl Stream<Item = io::Result<body::Bytes>> {
    stream::iter([Ok(start)]).chain(stream::once(async {
        tokio::task::yield_now().await;
        Err(io::ErrorKind::ConnectionAborted.into())
    }))
}
