//! Parses a claim event: from bytes to [`Claim`] or [`DeadLetterReason`]. Nothing else can build a
//! `Claim`.
//!
//! Owns the shape of the event (`schemas/claim.v1.json`) and every check that needs no risk API.
//! Knows no Kafka and no clock. What an API needs in addition (a phone number, an app id) is in
//! that API's own `check`. The invariant: a `Claim` has every required field, each within its
//! range, none of them empty.
//!
//! ```
//! use claimgate::claim::Claim;
//!
//! let event = br#"{
//!     "claim_id": "clm-1", "kind": "red_packet", "claimed_at": 1632994480,
//!     "account": { "type": "wechat", "id": "oPDER5U0VMARiyXxUruU4SYmyOiw" },
//!     "client": { "ip": "121.14.96.121" }
//! }"#;
//! let claim = Claim::parse(Some(event), 65_536).expect("well-formed");
//! assert_eq!(claim.claim_id, "clm-1");
//! let reason = Claim::parse(Some(b"{"), 65_536).expect_err("no JSON");
//! println!("{reason}");
//! ```

use serde::Serialize;
use sha2::{Digest, Sha256};

mod account;
mod address;
mod dead_letter;
mod differences;
mod event;
mod fault;
mod foreign;
mod given;
mod network;
mod ranges;
mod seconds;
mod secret;
mod sections;
mod subject;

pub use account::{Account, AccountType};
pub use dead_letter::{DeadLetterReason, EventError, required};
pub use network::Network;
pub use secret::{Secret, without_secrets};
use sections::is_empty;
pub use sections::{Captcha, Client, Identity, Login, Reward};
pub use subject::{EventHashes, SubjectKey, SubjectKeys};

/// The longest `claim_id`, in characters (`schemas/claim.v1.json`).
pub const CLAIM_ID_MAX_CHARS: usize = 128;

/// A well-formed claim event. Only [`Claim::parse`] makes one.
#[expect(clippy::manual_non_exhaustive, reason = "the rest of this crate may not build one either")]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// The idempotency key: 1–128 characters, unique per claim.
    pub claim_id: String,
    /// What is claimed; configuration says which risk API serves it.
    pub kind: String,
    /// When the user made the claim, UNIX seconds.
    pub claimed_at: i64,
    /// The account that claims.
    pub account: Account,
    /// The device and connection that the claim came from.
    pub client: Client,
    /// How the user logged in.
    #[serde(skip_serializing_if = "is_empty")]
    pub login: Login,
    /// The reward that is claimed.
    #[serde(skip_serializing_if = "is_empty")]
    pub reward: Reward,
    /// The user's identity papers.
    #[serde(skip_serializing_if = "is_empty")]
    pub identity: Identity,
    /// The captcha asked for or answered.
    #[serde(skip_serializing_if = "is_empty")]
    pub captcha: Captcha,
    #[serde(skip)]
    only_parse_builds_this: (),
}

impl Claim {
    /// Reads an event's payload. `max_bytes` is `kafka.max_event_bytes`.
    ///
    /// # Errors
    /// [`DeadLetterReason`], with the path of the field if one field is at fault.
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

    /// The phone number: a field of its own, or the account's id.
    pub fn phone(&self) -> Option<&str> {
        let account = &self.account;
        let id = Some(&account.id).filter(|_| account.kind == AccountType::Phone);
        account.phone.as_ref().or(id).map(String::as_str)
    }

    /// SHA-256 over every field of the contract: two events with the same `claim_id` and the same
    /// fingerprint are one claim that was sent twice. Fields that are not given are left out, so
    /// that a new field of the contract changes no hash of a claim without it. Secrets are included
    /// by their hashes.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut canonical = Vec::with_capacity(1_024);
        serde_json::to_writer(&mut canonical, self)
            .expect("a struct of strings and numbers always serialises");
        Sha256::digest(canonical).into()
    }
}

#[cfg(test)]
mod tests;
