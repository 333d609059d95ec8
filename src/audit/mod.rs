//! What auditors ask of Postgres.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

/// `[audit]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Keys the hash by which a subject is searched.
    pub subject_key: SecretString,
}

impl Settings {
    /// The key, where one was given.
    pub fn subject_key(&self) -> Option<&SecretString> {
        Some(&self.subject_key).filter(|key| !key.expose_secret().is_empty())
    }
}

/// The subject as `verdicts.subject` holds it: hex of an HMAC-SHA256 over type and id.
pub fn subject_hash(key: Option<&SecretString>, account_type: &str, id: &str) -> String {
    let key = key.map_or("claimgate", |key| key.expose_secret());
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(account_type.as_bytes());
    mac.update(b":");
    mac.update(id.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
