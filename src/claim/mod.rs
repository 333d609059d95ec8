//! A claim event: from bytes to [`Claim`] or [`DeadLetterReason`], and nothing else can build a
//! `Claim`.
//!
//! Owns the shape of the event (`schemas/claim.v1.json`) and every check that needs no risk API.
//! Knows no Kafka, no clock. What an API demands on top (a phone number, an app id) is that API's
//! own `check`. The invariant: whoever holds a `Claim` holds every required field, each within its
//! range, none of them empty.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod address;
mod differences;
mod event;
mod foreign;
mod subject;

use event::given;
pub use subject::subject_hash;

use crate::words::words;

/// The longest `claim_id`, in characters (`schemas/claim.v1.json`).
pub const CLAIM_ID_MAX_CHARS: usize = 128;
/// The last second of the year 9999: a later `claimed_at` is milliseconds by mistake.
const LAST_SECOND: i64 = 253_402_300_799;
/// How many of each are a second.
const FINER_UNITS: [(i64, &str); 3] =
    [(1_000, "milliseconds"), (1_000_000, "microseconds"), (1_000_000_000, "nanoseconds")];

/// A well-formed claim event. Only [`Claim::parse`] makes one.
#[expect(clippy::manual_non_exhaustive, reason = "the rest of this crate may not build one either")]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// The idempotency key: 1–128 characters, unique per claim.
    pub claim_id: String,
    /// What is claimed; configuration says which risk API serves it.
    pub kind: String,
    /// When the user claimed, UNIX seconds.
    pub claimed_at: i64,
    /// Who claims.
    pub account: Account,
    /// From where.
    pub client: Client,
    /// How the user logged in.
    #[serde(skip_serializing_if = "is_empty")]
    pub login: Login,
    /// What is claimed.
    #[serde(skip_serializing_if = "is_empty")]
    pub reward: Reward,
    /// Who the user is by paper.
    #[serde(skip_serializing_if = "is_empty")]
    pub identity: Identity,
    /// The captcha asked for or answered.
    #[serde(skip_serializing_if = "is_empty")]
    pub captcha: Captcha,
    #[serde(skip)]
    only_parse_builds_this: (),
}

/// The account that claims. With [`Account::kind`] and [`Account::id`] it is the subject whose
/// claims are kept in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// Whose identifier `id` is; on the wire `type`.
    #[serde(rename = "type")]
    pub kind: AccountType,
    /// The identifier: an openid, a phone number, a device id.
    pub id: String,
    /// The app that the openid belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The business's own account linked with the openid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub associate_id: Option<String>,
    /// The phone number, where the account is no phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// When the account was registered, UNIX seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<i64>,
}

words! {
    /// Whose identifier an account id is. Each API has its own numbers for these and takes only
    /// some.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum AccountType {
        Qq = "qq": "A QQ openid.",
        Wechat = "wechat": "A WeChat openid or unionid.",
        Phone = "phone": "A phone number.",
        Device = "device": "An IMEI or IDFA, or the MD5 of one.",
        Other = "other": "Anything else.",
        PhoneMd5 = "phone_md5": "The MD5 of a phone number.",
        PhoneCode = "phone_code": "A one-time code sent to a phone (captcha APIs).",
        Email = "email": "An e-mail address (captcha APIs).",
    }
}

macro_rules! optional_fields {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $(@$rename:literal)? $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* $(#[serde(rename = $rename)])?
            #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
            pub $field: Option<$type>,)*
        }
    };
}

optional_fields! {
    /// The device and connection that the claim came from.
    Client {
        /// The public IP address at the time of the claim; required, so never `None` in a `Claim`.
        ip: String,
        /// Device identifier.
        device_id: String,
        /// IMEI or IDFA.
        imei: String,
        /// MAC address.
        mac: String,
        /// BSSID of the WiFi network.
        wifi_bssid: String,
        /// The HTTP cookie, hashed twice.
        cookie_hash: String,
        /// The HTTP referer.
        referer: String,
        /// The HTTP `X-Forwarded-For`.
        forwarded_for: String,
        /// Where the user is, in words.
        address: String,
        /// Degrees, -90 to 90.
        latitude: f64,
        /// Degrees, -180 to 180.
        longitude: f64,
    }
}
optional_fields! {
    /// How the user logged in.
    Login {
        /// 0 other, 1 password, 2 SMS, 3 QR scan; on the wire `type`.
        @"type" method: u8,
        /// 0 other, 1 PC web, 2 mobile web, 3 app, 4 WeChat official account.
        source: u8,
        /// 1 official account, 2 mini-program.
        wechat_subtype: u8,
        /// The random text that `token` signs.
        nonce: String,
        /// The login's token: a session signature or a user's access token.
        token: String,
    }
}
optional_fields! {
    /// The reward and the campaign's own limits.
    Reward {
        /// What was bought, free text or (mini-programs) a goods id.
        goods: String,
        /// Unique hash of the prize code.
        code_hash: String,
        /// How many users may share one red packet.
        share: u32,
        /// Claims allowed per account and day.
        daily_limit: u32,
        /// Claims allowed per account and campaign.
        total_limit: u32,
        /// Merchant number.
        merchant: String,
    }
}
optional_fields! {
    /// Identity papers.
    Identity {
        /// Number of the certificate.
        certificate_id: String,
    }
}
optional_fields! {
    /// The captcha asked for or answered.
    Captcha {
        /// 1–8, the eight kinds of picture; on the wire `type`.
        @"type" picture: u8,
        /// The business that asks.
        business_id: u32,
        /// The scene within the business.
        scene_id: u32,
        /// The ticket that the user's answer earned.
        ticket: String,
    }
}

words! {
    /// What is wrong with an event that becomes a dead letter (`docs/dead-letters.md`): the word of
    /// `dead_letters.error`, of the header `claimgate-error` and of a metric label.
    pub enum EventError {
        Tombstone = "tombstone": "It has no payload.",
        TooLarge = "too_large": "It is larger than `kafka.max_event_bytes`.",
        NotUtf8 = "not_utf8": "It is no UTF-8.",
        NotJson = "not_json": "It is no JSON.",
        NotAnObject = "not_an_object": "It is JSON, and no object.",
        MissingField = "missing_field": "A required field is absent, null or empty.",
        DuplicateField = "duplicate_field": "A field is there twice.",
        WrongType = "wrong_type": "A field is of another type.",
        OutOfRange = "out_of_range": "A value is outside its range.",
        InvalidValue = "invalid_value": "A value is within its range and cannot be taken.",
        UnknownKind = "unknown_kind": "No risk API serves its kind.",
        ClaimIdConflict = "claim_id_conflict": "Its claim id belongs to a claim with other content.",
        Unrecordable = "unrecordable": "PostgreSQL refuses its row, or that of an attempt.",
    }
}

/// Why an event is no claim. It becomes a dead letter with these words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {detail}")]
pub struct DeadLetterReason {
    /// What is wrong.
    pub error: EventError,
    /// The path of the field at fault, such as `account.id`.
    pub field: Option<String>,
    /// One sentence for a person.
    pub detail: String,
}

impl DeadLetterReason {
    /// A fault of one field.
    pub fn field(error: EventError, field: &str, detail: impl Into<String>) -> Self {
        Self { error, field: Some(field.to_owned()), detail: detail.into() }
    }

    /// A fault of the event as a whole.
    pub fn event(error: EventError, detail: impl Into<String>) -> Self {
        Self { error, field: None, detail: detail.into() }
    }

    /// An event of so many bytes, where `kafka.max_event_bytes` is `max_bytes`.
    pub fn too_large(bytes: usize, max_bytes: usize) -> Self {
        let detail = format!("{bytes} bytes are more than the {max_bytes} that an event may have");
        Self::event(EventError::TooLarge, detail)
    }

    /// A required field that is absent, null or empty.
    pub fn missing(field: &str) -> Self {
        Self::field(EventError::MissingField, field, format!("`{field}` is required"))
    }
}

/// The value of a required field.
///
/// # Errors
/// [`EventError::MissingField`].
pub fn required<T>(field: &str, value: Option<T>) -> Result<T, DeadLetterReason> {
    value.ok_or_else(|| DeadLetterReason::missing(field))
}

impl Claim {
    /// Reads an event's payload. `max_bytes` is `kafka.max_event_bytes`.
    ///
    /// # Errors
    /// [`DeadLetterReason`], with the field's path where one field is at fault.
    pub fn parse(payload: Option<&[u8]>, max_bytes: usize) -> Result<Self, DeadLetterReason> {
        let payload = payload.ok_or_else(|| {
            DeadLetterReason::event(EventError::Tombstone, "the event has no payload")
        })?;
        if payload.len() > max_bytes {
            return Err(DeadLetterReason::too_large(payload.len(), max_bytes));
        }
        let payload = foreign::without_mark(payload);
        let text = std::str::from_utf8(payload).map_err(|error| {
            DeadLetterReason::event(
                EventError::NotUtf8,
                foreign::format(payload).unwrap_or_else(|| error.to_string()),
            )
        })?;
        let claim = event::read(text)?;
        claim.check_id()?;
        claim.check_ranges()?;
        Ok(claim)
    }

    /// The text that identifies the subject: its claims are assessed one at a time, in order.
    pub fn subject(&self) -> (AccountType, &str) {
        (self.account.kind, &self.account.id)
    }

    /// The client's IP address.
    pub fn ip(&self) -> &str {
        self.client.ip.as_deref().unwrap_or_default()
    }

    /// SHA-256 over every field of the contract: two events with one `claim_id` and one fingerprint
    /// are one claim sent twice. What is not given is left out, so that a field which the contract
    /// gains later changes no hash of a claim without it.
    pub fn fingerprint(&self) -> [u8; 32] {
        let canonical =
            serde_json::to_vec(self).expect("a struct of strings and numbers always serialises");
        Sha256::digest(canonical).into()
    }
}

impl Claim {
    fn check_id(&self) -> Result<(), DeadLetterReason> {
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

    fn check_ranges(&self) -> Result<(), DeadLetterReason> {
        seconds("claimed_at", Some(self.claimed_at))?;
        seconds("account.registered_at", self.account.registered_at)?;
        within("client.latitude", self.client.latitude, -90.0, 90.0)?;
        within("client.longitude", self.client.longitude, -180.0, 180.0)?;
        within("login.type", self.login.method, 0, 3)?;
        within("login.source", self.login.source, 0, 4)?;
        within("login.wechat_subtype", self.login.wechat_subtype, 1, 2)?;
        within("captcha.type", self.captcha.picture, 1, 8)
    }
}

fn seconds(field: &str, value: Option<i64>) -> Result<(), DeadLetterReason> {
    let Some(value) = value else { return Ok(()) };
    let finer =
        FINER_UNITS.iter().find(|(unit, _)| value > LAST_SECOND && value / unit <= LAST_SECOND);
    match finer {
        Some((unit, name)) => {
            let detail =
                format!("{value} looks like {name}; the unit is seconds: {}", value / unit);
            Err(DeadLetterReason::field(EventError::OutOfRange, field, detail))
        }
        None => within(field, Some(value), 0, LAST_SECOND),
    }
}

/// Whether nothing of a section was given.
fn is_empty<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
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
            format!("{value} is not within {low} and {high}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
