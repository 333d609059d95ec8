//! Encrypts single values, with a key that the worker has from its configuration; which columns
//! these are is in [`super::encrypted`].
//!
//! XChaCha20-Poly1305 with a random nonce for each value, bound to the column and to what the row
//! is about, so that no value can stand in another's place. The invariant: with a key, no value is
//! kept in clear, and what was kept in clear is read as it came.

use std::borrow::Cow;
use std::fmt;

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::outbox::StoreError;

/// How an encrypted value begins; no UTF-8 and no JSON does. The key's id, the nonce and the rest
/// follow. What a producer or an API sends may begin so as well, see [`IN_CLEAR`].
pub(super) const ENCRYPTED: [u8; 4] = *b"\xc1cg1";
/// Bytes of a key's id.
const ID: usize = 4;
/// Stands in the place of a key's id where there is no key, and the value begins as an encrypted
/// one does: the value follows. Otherwise the two could not be distinguished, and one event would
/// end each question that meets it.
const IN_CLEAR: [u8; ID] = [0; ID];
/// Whether a `payload` is encrypted, in SQL.
pub(crate) const IS_ENCRYPTED: &str =
    r"(substr(payload, 1, 4) = '\xc1636731' and substr(payload, 5, 4) <> '\x00000000')";
/// Bytes of a nonce.
const NONCE: usize = 24;

/// `postgres.evidence_keys`: the first one encrypts, all decrypt. None: evidence is kept in clear.
#[derive(Default)]
pub(crate) struct EvidenceKeys {
    keys: Vec<([u8; ID], XChaCha20Poly1305)>,
}

impl EvidenceKeys {
    /// The keys of a list: 64 hex digits each, commas between.
    pub(super) fn read(list: &SecretString) -> Result<Self, StoreError> {
        let keys = list.expose_secret().split(',').map(str::trim).filter(|key| !key.is_empty());
        let key = |(number, digits): (usize, &str)| {
            let mut key = [0; 32];
            hex::decode_to_slice(digits, &mut key).map_err(|_| {
                StoreError::Fatal(format!(
                    "`postgres.evidence_keys`: key {} is not 64 hex digits; `openssl rand -hex 32` \
                     makes one",
                    number + 1
                ))
            })?;
            let mut id = [0; ID];
            id.copy_from_slice(&Sha256::digest(key)[..ID]);
            Ok((id, XChaCha20Poly1305::new(&key.into())))
        };
        Ok(Self { keys: keys.enumerate().map(key).collect::<Result<_, _>>()? })
    }

    /// Whether there are any.
    pub(super) fn are_some(&self) -> bool {
        !self.keys.is_empty()
    }

    /// A value as it is kept. `about` is what its row is about.
    pub(super) fn encrypt<'a>(
        &self,
        column: Column,
        about: &str,
        value: Cow<'a, [u8]>,
    ) -> Cow<'a, [u8]> {
        let Some((id, key)) = self.keys.first() else {
            return match seems_encrypted(&value) {
                true => Cow::Owned([&ENCRYPTED, &IN_CLEAR[..], &value].concat()),
                false => value,
            };
        };
        let nonce = XNonce::generate();
        let aad = column.bound_to(about);
        let payload = Payload { msg: &value, aad: aad.as_bytes() };
        let encrypted = key.encrypt(&nonce, payload).expect("a value is shorter than 256 GiB");
        Cow::Owned([&ENCRYPTED, &id[..], &nonce, &encrypted].concat())
    }

    /// The value that was kept.
    pub(super) fn decrypt(
        &self,
        column: Column,
        about: &str,
        kept: &mut Vec<u8>,
    ) -> Result<(), String> {
        let Some((id, rest)) =
            kept.strip_prefix(&ENCRYPTED).and_then(|rest| rest.split_at_checked(ID))
        else {
            return Ok(());
        };
        let is_it = |(known, _): &&([u8; ID], XChaCha20Poly1305)| known == id;
        let key = self.keys.iter().find(is_it).map(|(_, key)| key);
        if key.is_none() && id == IN_CLEAR {
            *kept = rest.to_vec();
            return Ok(());
        }
        let key = key.ok_or_else(|| {
            format!(
                "{column} of {about} is encrypted with a key that begins its hash with {}, and \
                 `postgres.evidence_keys` has no such key",
                hex::encode(id)
            )
        })?;
        let refused = || format!("{column} of {about} was encrypted for another place or altered");
        let (nonce, encrypted) = rest.split_at_checked(NONCE).ok_or_else(refused)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| refused())?;
        let aad = column.bound_to(about);
        let payload = Payload { msg: encrypted, aad: aad.as_bytes() };
        *kept = key.decrypt(&nonce, payload).map_err(|_| refused())?;
        Ok(())
    }
}

/// Whether a value begins as an encrypted one.
pub(super) fn seems_encrypted(value: &[u8]) -> bool {
    value.starts_with(&ENCRYPTED)
}

impl fmt::Debug for EvidenceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} evidence keys", self.keys.len())
    }
}

/// A column that is encrypted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    EventPayload,
    Request,
    Response,
    LetterPayload,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventPayload => "claim_events.payload",
            Self::Request => "risk_calls.request",
            Self::Response => "risk_calls.response",
            Self::LetterPayload => "dead_letters.payload",
        })
    }
}

impl Column {
    fn bound_to(self, about: &str) -> String {
        format!("{self}/{about}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_none_is_named_and_not_quoted() {
        let list = format!("{},hunter2", "0a".repeat(32));
        let said = EvidenceKeys::read(&SecretString::from(list)).expect_err("no key").to_string();
        assert!(said.contains("key 2 is not 64 hex digits") && !said.contains("hunter2"), "{said}");
        let keys = EvidenceKeys::read(&SecretString::from("0a".repeat(32))).expect("a key");
        assert_eq!(format!("{keys:?}"), "1 evidence keys");
    }
}
