//! An answer that all share who ask for it within a second, so that many who look cost no more than
//! one.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// So long an answer is good.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// JSON, or what is told instead.
pub(super) type Answer = Result<Bytes, (StatusCode, String)>;

/// The last answer.
#[derive(Default)]
pub(super) struct Fresh(Mutex<Option<(Instant, Answer)>>);

impl Fresh {
    /// The last answer where it is good, else a new one. One is made at a time; others wait for it.
    pub(super) async fn or(&self, make: impl Future<Output = Answer>) -> Answer {
        let mut last = self.0.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return answer.clone();
        }
        let answer = make.await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_cost_one_look_and_a_failure_is_shared_too() {
        let (fresh, made) = (Fresh::default(), AtomicUsize::new(0));
        let ask = || {
            fresh.or(async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                made.fetch_add(1, Ordering::Relaxed);
                Err((StatusCode::SERVICE_UNAVAILABLE, "away".to_owned()))
            })
        };
        let answers = join_all((0..50).map(|_| ask())).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        tokio::time::advance(FRESH_FOR).await;
        assert!(ask().await.is_err());
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }
}
