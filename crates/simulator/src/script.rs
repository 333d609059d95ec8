//! The words in an account id that determine how its calls end: `u17-level-3`,
//! `transient-2-http-503`. Pure.
//!
//! An id is cut at `-`, `_`, `.`, `:`, `/` and `@`; the words are found among the pieces
//! (`docs/simulator.md` has the list). An id without any of them is left to its hash.

use std::time::Duration;

use super::trouble::{Shape, Silence, Trouble};

/// What an account id asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// `level-N`: the risk level of the verdict.
    pub(super) level: Option<i64>,
    /// `risk-N`, any number of times: the risk types of the verdict.
    pub(super) risk_types: Vec<i32>,
    /// `transient-N`: the fault happens only for the first N calls.
    pub(super) transient: Option<u32>,
    /// What goes wrong.
    pub(super) trouble: Trouble,
}

impl Script {
    /// Reads the words of an account id.
    pub(super) fn read(account: &str) -> Self {
        let mut script = Self::default();
        let mut pieces = account.split(['-', '_', '.', ':', '/', '@']).peekable();
        while let Some(piece) = pieces.next() {
            if script.take_single(piece) {
                continue;
            }
            let Some(&next) = pieces.peek() else { break };
            // `code--1`: the blank piece between two dashes is a minus sign.
            let taken = if next.is_empty() {
                let mut ahead = pieces.clone();
                ahead.next();
                piece.ends_with("code")
                    && ahead.next().is_some_and(|digits| script.take_minus(digits))
            } else {
                script.take_pair(piece, next)
            };
            if taken {
                pieces.next();
            }
        }
        script
    }

    /// Whether the words determine the verdict itself.
    pub(super) fn has_verdict(&self) -> bool {
        self.level.is_some() || !self.risk_types.is_empty()
    }

    /// What goes wrong with the account's `number`th call (from 1) to an API whose transient code
    /// is `default_code`.
    pub(super) fn trouble(&self, number: u32, default_code: i64) -> Trouble {
        match self.transient {
            Some(calls) if number > calls => Trouble::default(),
            Some(_) if self.trouble == Trouble::default() => {
                Trouble { code: Some(default_code), ..Trouble::default() }
            }
            _ => self.trouble,
        }
    }

    fn take_single(&mut self, word: &str) -> bool {
        match word {
            "hang" => self.trouble.silence = Some(Silence::Hang),
            "reset" => self.trouble.silence = Some(Silence::Reset),
            "html" => self.trouble.shape = Shape::Html,
            "truncated" => self.trouble.shape = Shape::Truncated,
            "empty" => self.trouble.shape = Shape::Empty,
            "big" => self.trouble.shape = Shape::Big,
            "cut" => self.trouble.shape = Shape::Cut,
            _ => return false,
        }
        true
    }

    fn take_pair(&mut self, word: &str, next: &str) -> bool {
        self.trouble.shape = match next {
            "level" if word.ends_with("no") => Shape::NoLevel,
            "code" if word.ends_with("string") => Shape::StringCode,
            "space" if word.ends_with("level") => Shape::LevelSpace,
            "truncated" if word.ends_with("inner") => Shape::InnerTruncated,
            "object" if word.ends_with("inner") => Shape::InnerObject,
            _ => {
                let number = leading_number(next);
                return number.is_some_and(|(number, unit)| self.take_number(word, number, unit));
            }
        };
        true
    }

    fn take_number(&mut self, word: &str, number: u32, unit: &str) -> bool {
        if word.ends_with("slow") {
            let seconds = unit == "s";
            let slow = if seconds {
                Duration::from_secs(number.into())
            } else {
                Duration::from_millis(number.into())
            };
            self.trouble.slow = slow;
        } else if word.ends_with("level") {
            self.level = Some(number.into());
        } else if word.ends_with("risk") {
            self.risk_types.extend(i32::try_from(number));
        } else if word.ends_with("transient") {
            self.transient = Some(number);
        } else if word.ends_with("code") {
            self.trouble.code = Some(number.into());
        } else if word.ends_with("http") {
            self.trouble.status =
                u16::try_from(number).ok().filter(|status| (200..1000).contains(status));
        } else {
            return false;
        }
        true
    }

    fn take_minus(&mut self, digits: &str) -> bool {
        let Some((number, _)) = leading_number(digits) else {
            return false;
        };
        self.trouble.code = Some(-i64::from(number));
        true
    }
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    digits.parse().ok().map(|number| (number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_id_has_no_words() {
        for id in [
            "",
            "oPDER5U0VMARiyXxUruU4SYmyOiw",
            "15912345687",
            "level",
            "level-",
            "-",
            "code--",
            "slow-x",
            "no-code",
        ] {
            assert_eq!(Script::read(id), Script::default(), "{id}");
        }
    }

    #[test]
    fn words_are_found_wherever_they_stand_and_combine() {
        let script = Script::read("u17-level-3_risk-101-risk-5.x");
        assert_eq!((script.level, script.risk_types.as_slice()), (Some(3), &[101, 5][..]));
        assert_eq!(Script::read("oNo1level-4").level, Some(4));
        assert_eq!(Script::read("a:code-4400").trouble.code, Some(4400));
        assert_eq!(Script::read("code--1-x").trouble.code, Some(-1));
        assert_eq!(Script::read("x-slow-500ms").trouble.slow, Duration::from_millis(500));
        assert_eq!(Script::read("x-slow-2s").trouble.slow, Duration::from_secs(2));
        assert_eq!(Script::read("http-503-1").trouble.status, Some(503));
        assert_eq!(Script::read("u-hang").trouble.silence, Some(Silence::Hang));
        assert_eq!(Script::read("no-level-7").trouble.shape, Shape::NoLevel);
        assert_eq!(Script::read("u-level-space-1").trouble.shape, Shape::LevelSpace);
        assert_eq!(Script::read("string-code-7").trouble.shape, Shape::StringCode);
    }

    #[test]
    fn transient_limits_whatever_else_goes_wrong() {
        let plain = Script::read("u-transient-2-level-1");
        assert_eq!(plain.trouble(1, 6000).code, Some(6000));
        assert_eq!(plain.trouble(2, 4).code, Some(4));
        assert_eq!(plain.trouble(3, 6000), Trouble::default());
        let resets = Script::read("u-transient-1-reset");
        assert_eq!(
            resets.trouble(1, 6000),
            Trouble { silence: Some(Silence::Reset), ..Trouble::default() }
        );
        assert_eq!(resets.trouble(2, 6000), Trouble::default());
        assert_eq!(Script::read("u-code-9").trouble(999, 6000).code, Some(9));
    }
}
