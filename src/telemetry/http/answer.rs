//! Answers of the endpoints that are costly to make: each is finished once begun, and shared.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The answer, or the error that is sent instead.
pub type Answer = Result<Bytes, (StatusCode, String)>;

/// The answer as a response. `content_type` is that of the answer, not of an error.
pub fn response(answer: Answer, content_type: &'static str) -> Response {
    match answer {
        Ok(body) => ([(CONTENT_TYPE, content_type)], body).into_response(),
        Err(told) => told.into_response(),
    }
}

/// The error where an answer cannot be made and the client is not at fault.
pub fn failed(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

/// Makes an answer in a task of its own. A client that hangs up does not stop it: the query would
/// go on in the database, and the next one would need another connection.
pub async fn to_the_end(make: impl Future<Output = Answer> + Send + 'static) -> Answer {
    tokio::spawn(make).await.unwrap_or_else(|error| Err(failed(error)))
}

/// Makes an answer that takes milliseconds of processor time, so not on the worker's threads.
pub async fn on_a_thread(make: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    tokio::task::spawn_blocking(make).await.unwrap_or_else(|error| Err(failed(error)))
}

/// An answer that is shared by all clients that ask within some time: many viewers cost no more
/// than one.
#[derive(Debug, Clone)]
pub struct Fresh {
    last: Arc<Mutex<Option<(Instant, Answer)>>>,
    good_for: Duration,
}

impl Fresh {
    /// An answer that may be reused for `good_for`.
    pub fn new(good_for: Duration) -> Self {
        Self { last: Arc::default(), good_for }
    }

    /// The last answer while it may be reused, else a new one. Only one is made at a time; other
    /// clients wait for it.
    pub async fn or(&self, make: impl Future<Output = Answer> + Send + 'static) -> Answer {
        let Self { last, good_for } = self.clone();
        let answer = async move {
            let mut last = last.lock().await;
            if let Some((at, answer)) = last.as_ref()
                && at.elapsed() < good_for
            {
                return answer.clone();
            }
            let answer = make.await;
            *last = Some((Instant::now(), answer.clone()));
            answer
        };
        to_the_end(answer).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::time::timeout;

    use super::*;

    const GOOD_FOR: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn concurrent_clients_share_one_answer_or_failure() {
        let (fresh, made) = (Fresh::new(GOOD_FOR), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let made = Arc::clone(&made);
            fresh.or(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                made.fetch_add(1, Ordering::Relaxed);
                Err((StatusCode::SERVICE_UNAVAILABLE, "away".to_owned()))
            })
        };
        let answers = join_all((0..50).map(|_| ask())).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        tokio::time::advance(GOOD_FOR).await;
        assert!(ask().await.is_err());
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_leaves_an_answer_for_the_next() {
        let (fresh, begun) = (Fresh::new(GOOD_FOR), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let begun = Arc::clone(&begun);
            fresh.or(async move {
                begun.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(Bytes::from_static(b"{}"))
            })
        };
        for _ in 0..20 {
            assert!(timeout(Duration::from_millis(20), ask()).await.is_err());
        }
        assert!(ask().await.is_ok());
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }
}
