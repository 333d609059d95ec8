//! Tencent Cloud API v2 signature: the text to sign, its HMAC, and the encoding on the wire.
//!
//! Owns the algorithm and nothing else: it knows no API, no claim, no common parameters. The
//! invariant: what is signed is the raw value, what is sent is that value percent-encoded once, so
//! that the receiver signs the same text.
//!
//! Source: Tencent's `请求签名.md` (calling conventions of API 2.0) and the official SDKs' `Sign`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Deserialize;
use sha1::Sha1;
use sha2::Sha256;

use super::Method;

/// Everything but RFC 3986's unreserved characters. A space becomes `%20`, never `+`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The hash under the HMAC: `signature_method` in configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum SignatureMethod {
    /// The server's default if the parameter is absent, and what the documents of Tencent Cloud ask
    /// for.
    #[default]
    #[serde(rename = "HmacSHA1")]
    HmacSha1,
    /// Announced to the server by `SignatureMethod=HmacSHA256`, spelled exactly so.
    #[serde(rename = "HmacSHA256")]
    HmacSha256,
}

/// The text to sign: method, host, path, `?` and every parameter but `Signature`, sorted by byte
/// order, values raw.
///
/// `_` in a key counts as `.`. On POST the official signers leave out values that begin with `@` (a
/// legacy of file uploads), so this does too; [`super::tencent_cloud`] refuses to send such a
/// value.
pub fn string_to_sign<'a>(
    method: Method,
    host: &str,
    path: &str,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut signed: Vec<(Cow<'_, str>, &str)> = parameters
        .into_iter()
        .filter(|(name, value)| {
            *name != "Signature" && !(method == Method::Post && value.starts_with('@'))
        })
        .map(|(name, value)| (with_dots(name), value))
        .collect();
    signed.sort_unstable();
    let length = signed.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
    let mut text = String::with_capacity(method.as_str().len() + host.len() + path.len() + length);
    text.push_str(method.as_str());
    text.push_str(host);
    text.push_str(path);
    for (index, (name, value)) in signed.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

fn with_dots(name: &str) -> Cow<'_, str> {
    if name.contains('_') { name.replace('_', ".").into() } else { name.into() }
}

/// `base64(HMAC(secret_key, text))`.
pub fn sign(method: SignatureMethod, secret_key: &str, text: &str) -> String {
    match method {
        SignatureMethod::HmacSha1 => {
            STANDARD.encode(mac::<Hmac<Sha1>>(secret_key, text).as_slice())
        }
        SignatureMethod::HmacSha256 => {
            STANDARD.encode(mac::<Hmac<Sha256>>(secret_key, text).as_slice())
        }
    }
}

fn mac<M: Mac + KeyInit>(secret_key: &str, text: &str) -> hmac::digest::Output<M> {
    let mut mac = <M as KeyInit>::new_from_slice(secret_key.as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes()
}

/// A value, encoded for a query or a form body.
pub fn encode(value: &str) -> PercentEncode<'_> {
    utf8_percent_encode(value, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Gu5t9xGARNpq86cd98joQYCN3Cozk1qA";
    const ID: &str = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA";

    /// Signs the parameters of a published text to sign, in any order, and compares the text with
    /// the published one.
    fn check(published: &str, method: SignatureMethod, key: &str, signature: &str) {
        let verb = if published.starts_with("POST") { Method::Post } else { Method::Get };
        let (head, query) = published.split_once('?').unwrap();
        let host = &head[verb.as_str().len()..head.find('/').unwrap()];
        let mut parameters: Vec<_> =
            query.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        parameters.reverse();
        parameters.push(("Signature", "never signed"));
        let text = string_to_sign(verb, host, "/v2/index.php", parameters);
        assert_eq!(text, published);
        assert_eq!(sign(method, key, &text), signature);
    }

    #[test]
    fn vectors_of_the_documents() {
        use SignatureMethod::{HmacSha1, HmacSha256};
        check(
            &format!(
                "GETcvm.api.qcloud.com/v2/index.php?Action=DescribeInstances&Nonce=11886&Region=gz&SecretId={ID}\
                 &Timestamp=1465185768&instanceIds.0=ins-09dx96dg&limit=20&offset=0"
            ),
            HmacSha1,
            KEY,
            "NSI3UqqD99b/UJb4tbG/xZpRW64=",
        );
        let with = |method: &str| {
            format!(
                "GETcvm.api.qcloud.com/v2/index.php?Action=DescribeInstances&InstanceIds.0=ins-09dx96dg&Nonce=11886\
                 &Region=ap-guangzhou&SecretId={ID}&SignatureMethod={method}&Timestamp=1465185768"
            )
        };
        check(&with("HmacSHA256"), HmacSha256, KEY, "0EEm/HtGRr/VJXTAD9tYMth1Bzm3lLHz5RCDv1GdM8s=");
        check(&with("HmacSHA1"), HmacSha1, KEY, "nPVnY6njQmwQ8ciqbPl5Qe+Oru4=");
    }

    #[test]
    fn vectors_of_the_official_sdk() {
        use SignatureMethod::{HmacSha1, HmacSha256};
        let text = |verb: &str, method: &str| {
            format!(
                "{verb}cvm.api.qcloud.com/v2/index.php?Action=DescribeInstances&Nonce=1290303896666895346\
                 &Region=ap-guangzhou&SecretId=secretIdFoo&SignatureMethod={method}&Timestamp=1512393162&Version=2017-03-12"
            )
        };
        check(&text("POST", "HmacSHA1"), HmacSha1, "secretKeyBar", "p3n+pxBqF5JGZtDSxoVn5tGngf0=");
        check(&text("GET", "HmacSHA1"), HmacSha1, "secretKeyBar", "5HAq1BOKNLEE2/uauWnp6Zv9Z3c=");
        check(
            &text("POST", "HmacSHA256"),
            HmacSha256,
            "secretKeyBar",
            "B2T37FRSP6Fk0/q/cdfrTE0p3zX5ooB/2BPWZUFpsj4=",
        );
    }

    #[test]
    fn underscores_in_keys_are_dots_and_an_at_sign_is_dropped_on_post_only() {
        let parameters = [("b_c", "x_y"), ("a", "@alice"), ("B", "1")];
        assert_eq!(
            string_to_sign(Method::Get, "h", "/p", parameters),
            "GETh/p?B=1&a=@alice&b.c=x_y"
        );
        assert_eq!(string_to_sign(Method::Post, "h", "/p", parameters), "POSTh/p?B=1&b.c=x_y");
    }

    #[test]
    fn everything_but_unreserved_is_encoded() {
        assert_eq!(encode("aZ0-._~ +/=&@广").to_string(), "aZ0-._~%20%2B%2F%3D%26%40%E5%B9%BF");
    }
}
