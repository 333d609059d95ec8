//! The faults that a fake service shows at present, and how slow it is.

use std::time::Duration;

use fastrand::Rng;

/// What may happen to a request, and how often.
#[derive(Debug, Clone)]
pub struct FaultProfile {
    /// A request takes a random part of this to arrive, and so does its answer.
    pub delay: Duration,
    /// The part of requests that are refused: they have no effect.
    pub refused: f64,
    /// The part of requests that are done but whose answer is lost.
    pub answer_lost: f64,
    /// The part of requests whose caller gives up, and which are done later or never.
    pub late: f64,
    /// Every request is refused.
    pub is_away: bool,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFault {
    /// It is done and answered.
    Done,
    /// It is not done.
    Refused,
    /// It is done; the caller gets an error.
    AnswerLost,
    /// The caller gets an error; it may still be done.
    Late,
}

impl FaultProfile {
    /// No faults, and no delay.
    pub fn none() -> Self {
        Self { delay: Duration::ZERO, refused: 0.0, answer_lost: 0.0, late: 0.0, is_away: false }
    }

    /// What happens to the next request.
    pub fn next_fault(&self, random: &mut Rng) -> InjectedFault {
        let draw = random.f64();
        if self.is_away || draw < self.refused {
            InjectedFault::Refused
        } else if draw < self.refused + self.answer_lost {
            InjectedFault::AnswerLost
        } else if draw < self.refused + self.answer_lost + self.late {
            InjectedFault::Late
        } else {
            InjectedFault::Done
        }
    }

    /// How long the next request, or the next answer, takes.
    pub fn latency(&self, random: &mut Rng) -> Duration {
        self.delay.mul_f64(random.f64())
    }
}
