//! The signature, computed again from the request: method, host, path and the decoded parameters in
//! byte order.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::Sha256;

use super::super::form::Form;
use super::super::plan::Refusal;

/// The secret key, ready for both methods.
pub(crate) struct SigningKey {
    sha1: Hmac<Sha1>,
    sha256: Hmac<Sha256>,
}

impl SigningKey {
    pub(crate) fn new(key: &SecretString) -> Self {
        let key = key.expose_secret().as_bytes();
        Self {
            sha1: Hmac::new_from_slice(key).expect("HMAC takes keys of any length"),
            sha256: Hmac::new_from_slice(key).expect("HMAC takes keys of any length"),
        }
    }

    /// Refuses with 4100 a request that is not signed with this key. The message has the text that
    /// should have been signed.
    pub(super) fn verify(
        &self,
        method: &str,
        host: &str,
        form: &Form<'_>,
        signature: &str,
    ) -> Result<(), Refusal> {
        let text = text_to_sign(method, host, form);
        let given = STANDARD.decode(signature).unwrap_or_default();
        // Anything but exactly this name means HmacSHA1.
        let verified = if form.get("SignatureMethod") == Some("HmacSHA256") {
            self.sha256.clone().chain_update(&text).verify_slice(&given)
        } else {
            self.sha1.clone().chain_update(&text).verify_slice(&given)
        };
        verified.map_err(|_| {
            Refusal::new(4100, format!("(100001)signature failed; the text to sign is: {text}"))
        })
    }
}

fn text_to_sign(method: &str, host: &str, form: &Form<'_>) -> String {
    let mut pairs: Vec<(Cow<'_, str>, &str)> = Vec::with_capacity(24);
    let mut sorted = true;
    for (key, value) in form.iter().filter(|(key, _)| *key != "Signature") {
        // A legacy of file uploads: in a POST, values that look like one are not signed.
        if method == "POST" && value.starts_with('@') {
            continue;
        }
        sorted &= !key.contains('_');
        pairs.push((if sorted { key.into() } else { key.replace('_', ".").into() }, value));
    }
    if !sorted {
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
    }
    let length: usize = pairs.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    let mut text = String::with_capacity(length + host.len() + 32);
    text.extend([method, host, "/v2/index.php"]);
    let mut separator = "?";
    for (key, value) in &pairs {
        text.extend([separator, key.as_ref(), "=", value]);
        separator = "&";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(
        key: &str,
        method: &str,
        host: &str,
        wire: &str,
        signature: &str,
    ) -> Result<(), Refusal> {
        let form = Form::read(wire).unwrap();
        SigningKey::new(&key.into()).verify(method, host, &form, signature)
    }

    #[test]
    fn the_published_vectors_are_accepted_and_nothing_near_them() {
        let foo = "Action=DescribeInstances&Nonce=1290303896666895346&Region=ap-guangzhou&SecretId=secretIdFoo\
                   &Timestamp=1512393162&Version=2017-03-12&SignatureMethod=";
        let (sha1, sha256) = (format!("{foo}HmacSHA1"), format!("{foo}HmacSHA256"));
        for (method, wire, signature) in [
            ("POST", &sha1, "p3n+pxBqF5JGZtDSxoVn5tGngf0="),
            ("GET", &sha1, "5HAq1BOKNLEE2/uauWnp6Zv9Z3c="),
            ("POST", &sha256, "B2T37FRSP6Fk0/q/cdfrTE0p3zX5ooB/2BPWZUFpsj4="),
        ] {
            verify("secretKeyBar", method, "cvm.api.qcloud.com", wire, signature).unwrap();
            let other = if method == "GET" { "POST" } else { "GET" };
            for (key, method, host) in [
                ("secretKeyBaz", method, "cvm.api.qcloud.com"),
                ("secretKeyBar", other, "cvm.api.qcloud.com"),
                ("secretKeyBar", method, "csec.api.qcloud.com"),
            ] {
                assert_eq!(verify(key, method, host, wire, signature).unwrap_err().code, 4100);
            }
        }
    }

    #[test]
    fn keys_lose_their_underscores_before_they_are_sorted() {
        let form = Form::read("a_b=1&a.a=2&a%2Fc=3&Signature=x&f=@file").unwrap();
        assert_eq!(text_to_sign("GET", "h", &form), "GETh/v2/index.php?a.a=2&a.b=1&a/c=3&f=@file");
        assert_eq!(text_to_sign("POST", "h", &form), "POSTh/v2/index.php?a.a=2&a.b=1&a/c=3");
    }
}
