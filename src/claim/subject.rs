//! The hashes by which a person is found in the tables without the identity being stored. Pure.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::{Claim, Network};

/// The key if none is configured. It is public in the source: it makes the columns searchable, not
/// secret.
const DEFAULT_KEY: &str = "claimgate";

/// The key under which persons are hashed: a value of `audit.subject_key`, prepared once.
#[derive(Clone)]
pub struct SubjectKey(Hmac<Sha256>);

impl SubjectKey {
    /// The key that is configured, if one is.
    pub fn new(key: Option<&SecretString>) -> Self {
        let key = key.map_or(DEFAULT_KEY, |key| key.expose_secret());
        Self(Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length"))
    }

    /// The value of `verdicts.subject`: hex of HMAC-SHA256 over `type:id`. `account_type` is the
    /// word on the wire.
    pub fn subject(&self, account_type: &str, id: &str) -> String {
        hex::encode(self.hash(account_type, id))
    }

    /// The value of `claim_events.phone_hash` for a phone number.
    pub fn phone(&self, number: &str) -> i64 {
        self.short("phone", number)
    }

    /// The value of `claim_events.network_hash` for an address.
    pub fn network(&self, network: Network) -> i64 {
        self.short("network", &network.to_string())
    }

    /// The value of `claim_events.certificate_hash` for the number of a certificate.
    pub fn certificate(&self, id: &str) -> i64 {
        self.short("certificate", id)
    }

    /// The id of the key, `subject_keys.id`. It does not reveal the key.
    pub fn id(&self) -> String {
        format!("{:016x}", self.short("key", DEFAULT_KEY))
    }

    /// The first 8 bytes: enough to find a few events, which are then read.
    fn short(&self, what: &str, value: &str) -> i64 {
        let [a, b, c, d, e, f, g, h, ..] = self.hash(what, value);
        i64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn hash(&self, what: &str, value: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(what.as_bytes());
        mac.update(b":");
        mac.update(value.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(…)")
    }
}

/// The keys under which a person may have been hashed: the one in use, then former ones.
#[derive(Debug, Clone)]
pub struct SubjectKeys {
    /// `audit.subject_key`.
    pub current: SubjectKey,
    /// `audit.former_subject_keys`.
    pub former: Vec<SubjectKey>,
}

impl SubjectKeys {
    /// The results of `hash` under each key, first under the one in use.
    pub fn each<T>(&self, hash: impl Fn(&SubjectKey) -> T) -> Vec<T> {
        std::iter::once(&self.current).chain(&self.former).map(hash).collect()
    }
}

/// The hashes by which a claim's event is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventHashes {
    /// [`SubjectKey::phone`] of [`Claim::phone`].
    pub phone: Option<i64>,
    /// [`SubjectKey::network`] of the client's address.
    pub network: Option<i64>,
    /// [`SubjectKey::certificate`].
    pub certificate: Option<i64>,
}

impl EventHashes {
    /// The hashes of a claim. Events may hold any text as an address; a text that is no address has
    /// no network.
    pub fn of(key: &SubjectKey, claim: &Claim) -> Self {
        Self {
            phone: claim.phone().map(|number| key.phone(number)),
            network: claim.ip().parse().ok().map(|address| key.network(Network::of(address))),
            certificate: claim.identity.certificate_id.as_deref().map(|id| key.certificate(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    #[test]
    fn a_hash_depends_on_the_key_the_type_and_the_id() {
        let (usual, own) = (SubjectKey::new(None), SubjectKey::new(Some(&"own".into())));
        let hashes = [
            usual.subject("phone", "15912345687"),
            own.subject("phone", "15912345687"),
            usual.subject("qq", "15912345687"),
            usual.subject("phone", "15912345688"),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert_eq!(hash.len(), 64);
            assert!(!hashes[..index].contains(hash));
        }
    }

    #[test]
    fn a_hash_stays_the_same_for_ever() {
        // echo -n phone:15912345687 | openssl dgst -sha256 -hmac claimgate
        let key = SubjectKey::new(None);
        assert_eq!(key.subject("phone", "15912345687"), EXPECTED);
        assert_eq!(key.phone("15912345687"), 0x22d6_9dc6_adec_8755);
        // echo -n network:121.14.96.0/24 | openssl dgst -sha256 -hmac claimgate
        let network = Network::of(IpAddr::from([121, 14, 96, 121]));
        assert_eq!(format!("{:016x}", key.network(network)), NETWORK);
        // echo -n key:claimgate | openssl dgst -sha256 -hmac claimgate
        assert_eq!(key.id(), ID);
    }

    const EXPECTED: &str = "22d69dc6adec8755c708ba658de52728488b48aadbfeff7e59edd168cd7e2a23";
    const ID: &str = "7474f105b7a0a021";
    const NETWORK: &str = "e4f6136ee53a8b7e";
}
