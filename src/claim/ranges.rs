//! The checks of a claim's fields. Pure.

use std::fmt;

use super::{CLAIM_ID_MAX_CHARS, Claim, DeadLetterReason, EventError};

/// The last second of the year 9999: a later `claimed_at` is milliseconds by mistake.
const LAST_SECOND: i64 = 253_402_300_799;

/// The largest count: 32 bits, as the documents of the APIs say `UInt` and no width.
const COUNT_MAX: i64 = 4_294_967_295;

/// How many of each unit are a second.
const FINER_UNITS: [(i64, &str); 3] =
    [(1_000, "milliseconds"), (1_000_000, "microseconds"), (1_000_000_000, "nanoseconds")];

impl Claim {
    pub(super) fn check_id(&self) -> Result<(), DeadLetterReason> {
        let chars = self.claim_id.chars().count();
        if chars > CLAIM_ID_MAX_CHARS {
            let detail = format!(
                "{chars} characters are more than the {CLAIM_ID_MAX_CHARS} that a claim id may have"
            );
            return Err(DeadLetterReason::field(EventError::OutOfRange, "claim_id", detail));
        }
        if self.claim_id.contains('\0') {
            return Err(DeadLetterReason::field(
                EventError::InvalidValue,
                "claim_id",
                "a claim id has no NUL character",
            ));
        }
        Ok(())
    }

    pub(super) fn check_ranges(&self) -> Result<(), DeadLetterReason> {
        let (reward, captcha) = (&self.reward, &self.captcha);
        for (field, count) in [
            ("reward.share", reward.share),
            ("reward.daily_limit", reward.daily_limit),
            ("reward.total_limit", reward.total_limit),
            ("captcha.business_id", captcha.business_id),
            ("captcha.scene_id", captcha.scene_id),
        ] {
            within(field, count, 0, COUNT_MAX)?;
        }
        seconds("claimed_at", Some(self.claimed_at))?;
        seconds("account.registered_at", self.account.registered_at)?;
        within("client.latitude", self.client.latitude, -90.0, 90.0)?;
        within("client.longitude", self.client.longitude, -180.0, 180.0)?;
        within("login.type", self.login.method, 0, 3)?;
        within("login.source", self.login.source, 0, 4)?;
        within("login.wechat_subtype", self.login.wechat_subtype, 1, 2)?;
        within("captcha.type", captcha.picture, 1, 8)
    }
}

fn seconds(field: &str, value: Option<i64>) -> Result<(), DeadLetterReason> {
    let Some(value) = value else { return Ok(()) };
    let finer =
        FINER_UNITS.iter().find(|(unit, _)| value > LAST_SECOND && value / unit <= LAST_SECOND);
    match finer {
        Some((_, name)) => {
            let detail = format!("it looks like {name}; the unit is seconds");
            Err(DeadLetterReason::field(EventError::OutOfRange, field, detail))
        }
        None => within(field, Some(value), 0, LAST_SECOND),
    }
}

fn within<T: PartialOrd + fmt::Display>(
    field: &str,
    value: Option<T>,
    low: T,
    high: T,
) -> Result<(), DeadLetterReason> {
    match value {
        Some(value) if !(value >= low && value <= high) => Err(DeadLetterReason::field(
            EventError::OutOfRange,
            field,
            format!("it is not between {low} and {high}"),
        )),
        _ => Ok(()),
    }
}
