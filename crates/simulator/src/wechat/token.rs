//! Access tokens. Each of the two endpoints has its own tokens, and does not affect those of the
//! other.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The most tokens of one endpoint that are kept; older ones count as unknown.
const REMEMBERED: usize = 16;

/// The longest validity and grace: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The state of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// Never issued, or followed by a newer one (40001).
    Unknown,
    /// Expired (42001).
    Expired,
}

/// The tokens of both endpoints.
#[derive(Debug, Default)]
pub(in super::super) struct Tokens {
    /// Of `/cgi-bin/token`.
    pub(super) classic: Line,
    /// Of `/cgi-bin/stable_token`.
    pub(super) stable: Line,
}

/// The tokens of one endpoint, newest last.
#[derive(Debug, Default)]
pub(super) struct Line(VecDeque<Token>);

#[derive(Debug)]
struct Token {
    text: String,
    expires: Instant,
    /// When it ends because of a newer token.
    superseded: Option<Instant>,
}

impl Tokens {
    pub(super) fn standing(&self, text: &str, now: Instant) -> Standing {
        let token = self.classic.0.iter().chain(&self.stable.0).find(|token| token.text == text);
        match token {
            Some(token) if now >= token.expires => Standing::Expired,
            Some(token) if token.superseded.is_none_or(|end| now < end) => Standing::Good,
            _ => Standing::Unknown,
        }
    }

    /// Ends every token: the next call with one gets 42001.
    pub(in super::super) fn expire(&mut self, now: Instant) {
        for token in self.classic.0.iter_mut().chain(&mut self.stable.0) {
            token.expires = now;
        }
    }

    /// Forgets every token: the next call with one gets 40001.
    pub(in super::super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Line {
    /// The newest token and its remaining time, if that is more than `margin`.
    pub(super) fn current(&self, margin: Duration, now: Instant) -> Option<(&str, Duration)> {
        let token = self.0.back()?;
        let rest = token.expires.saturating_duration_since(now);
        (rest > margin).then_some((token.text.as_str(), rest))
    }

    /// A new token; those before it stay valid for `grace`.
    pub(super) fn issue(&mut self, life: Duration, grace: Duration, now: Instant) -> String {
        let (life, grace) = (life.min(LONGEST), grace.min(LONGEST));
        for token in &mut self.0 {
            let end = now + grace;
            token.superseded = Some(token.superseded.map_or(end, |earlier| earlier.min(end)));
        }
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        let text: String =
            "86_".chars().chain(std::iter::repeat_with(fastrand::alphanumeric).take(136)).collect();
        self.0.push_back(Token { text: text.clone(), expires: now + life, superseded: None });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(7200);
    const GRACE: Duration = Duration::from_secs(300);

    #[test]
    fn an_older_token_is_good_for_its_grace_and_no_longer() {
        let (mut tokens, start) = (Tokens::default(), Instant::now());
        let first = tokens.classic.issue(LIFE, GRACE, start);
        let second = tokens.classic.issue(LIFE, GRACE, start + GRACE);
        let other = tokens.stable.issue(LIFE, GRACE, start);
        assert_eq!(tokens.standing(&first, start + GRACE), Standing::Good);
        assert_eq!(tokens.standing(&first, start + 2 * GRACE), Standing::Unknown);
        assert_eq!(tokens.standing(&second, start + LIFE), Standing::Good);
        assert_eq!(tokens.standing(&second, start + GRACE + LIFE), Standing::Expired);
        assert_eq!(
            tokens.standing(&other, start + 2 * GRACE),
            Standing::Good,
            "the endpoints do not meet"
        );
        assert_eq!(tokens.standing("x", start), Standing::Unknown);
    }

    #[test]
    fn a_token_is_current_until_its_margin() {
        let (mut line, start) = (Line::default(), Instant::now());
        assert_eq!(line.current(GRACE, start), None);
        let token = line.issue(LIFE, GRACE, start);
        assert_eq!(line.current(GRACE, start), Some((token.as_str(), LIFE)));
        assert_eq!(line.current(GRACE, start + LIFE - GRACE), None);
    }
}
