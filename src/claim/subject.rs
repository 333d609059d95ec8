//! The hash by which a subject is searched. Pure.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The key where none is configured. It is in the source for all to read: it makes the column
/// searchable, not secret.
const DEFAULT_KEY: &str = "claimgate";

/// The subject as `verdicts.subject` holds it: hex of HMAC-SHA256 over `type:id`. `account_type` is
/// the word on the wire.
pub fn subject_hash(key: Option<&SecretString>, account_type: &str, id: &str) -> String {
    let key = key.map_or(DEFAULT_KEY, |key| key.expose_secret());
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(account_type.as_bytes());
    mac.update(b":");
    mac.update(id.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_the_key_the_type_and_the_id() {
        let own = SecretString::from("own");
        let hashes = [
            subject_hash(None, "phone", "15912345687"),
            subject_hash(Some(&own), "phone", "15912345687"),
            subject_hash(None, "qq", "15912345687"),
            subject_hash(None, "phone", "15912345688"),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert_eq!(hash.len(), 64);
            assert!(!hashes[..index].contains(hash));
        }
    }

    #[test]
    fn a_hash_stays_the_same_for_ever() {
        // echo -n phone:15912345687 | openssl dgst -sha256 -hmac claimgate
        assert_eq!(subject_hash(None, "phone", "15912345687"), EXPECTED);
    }

    const EXPECTED: &str = "22d69dc6adec8755c708ba658de52728488b48aadbfeff7e59edd168cd7e2a23";
}
