//! `[egress]`: by which way calls to the risk APIs leave.
//!
//! Pure. The environment's `HTTPS_PROXY` and its companions do not count: a variable that somebody
//! set for another program must not lead signed requests through a stranger's server.
//!
//! ```
//! use claimgate::assess::egress::Settings;
//!
//! let mut egress = Settings::default();
//! assert!(egress.check().is_ok(), "without a proxy calls go out directly");
//! egress.proxy = Some("socks9://proxy.internal:1080".to_owned().into());
//! assert!(egress.check().is_err(), "no such kind of proxy");
//! ```

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// `[egress]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The HTTP proxy for every call to a risk API and for access tokens; absent: none. It is a
    /// secret, because it may hold a password.
    pub proxy: Option<SecretString>,
    /// Hosts, domains and networks that are called directly all the same.
    pub no_proxy: Vec<String>,
    /// A file of certificates in PEM: authorities that are trusted beside the system's.
    pub ca_certificates: Option<PathBuf>,
    /// The connections to each server that offers HTTP/2; 0: HTTP/1.1, a connection for each call
    /// at once.
    pub http2_connections: usize,
}

/// The most [`Settings::http2_connections`]: each is a client of its own, made at the start.
pub const HTTP2_CONNECTIONS_MAX: usize = 64;

impl Settings {
    /// The proxy's URL.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_ref().map(ExposeSecret::expose_secret).filter(|url| !url.is_empty())
    }

    /// The file of certificates.
    pub fn ca_certificates(&self) -> Option<&Path> {
        self.ca_certificates.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// The proxy's scheme, host and port, without user and password.
    pub fn place(&self) -> Option<String> {
        let (scheme, rest) = self.proxy()?.split_once("://")?;
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        Some(format!("{scheme}://{}", host.trim_end_matches('/')))
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        let Some(url) = self.proxy() else { return Ok(()) };
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let host = rest
            .map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/'));
        let is_place = |host: &str| {
            !host.is_empty()
                && !host.starts_with(':')
                && !host.contains(['/', '?', '#'])
                && !host.contains(char::is_whitespace)
        };
        if host.is_some_and(is_place) {
            return Ok(());
        }
        // The URL itself may hold a password.
        Err("egress.proxy: this must be an HTTP proxy's URL such as \
            `http://user:password@proxy:3128`"
            .to_owned())
    }

    /// The first entry of `no_proxy` that no host can match.
    pub fn unusable_exception(&self) -> Option<&str> {
        let entries = self.no_proxy.iter().flat_map(|entry| entry.split(','));
        entries.map(str::trim).find(|entry| !is_exception(entry))
    }
}

/// Whether the HTTP client can make use of it. It takes all that is no address and no network for
/// the name of a host.
fn is_exception(entry: &str) -> bool {
    let is_of_names = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    entry == "*"
        || entry.chars().all(is_of_names)
        || entry.parse::<IpNet>().is_ok()
        || format!("{entry}/128").parse::<IpNet>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Settings {
        Settings { proxy: Some(url.into()), ..Settings::default() }
    }

    #[test]
    fn a_proxy_is_a_url_and_its_password_is_never_printed() {
        for url in [
            "http://proxy:3128",
            "https://user:hunter2@proxy",
            "http://[::1]:3128/",
            "http://127.0.0.1:1",
        ] {
            assert_eq!(at(url).check(), Ok(()), "{url}");
        }
        for url in [
            "proxy:3128",
            "socks5://hunter2@proxy",
            "http://",
            "http://:3128",
            "http://hunter2@/",
            "http://a b",
        ] {
            let refusal = at(url).check().expect_err(url);
            assert!(refusal.contains("egress.proxy") && !refusal.contains("hunter2"), "{refusal}");
        }
        assert_eq!(at("").check(), Ok(()));
        assert_eq!(at("http://user:hunter2@proxy:1/").place().as_deref(), Some("http://proxy:1"));
        assert!(!format!("{:?}", at("http://user:hunter2@proxy")).contains("hunter2"));
    }
    #[test]
    fn an_exception_is_a_host_a_domain_an_address_or_a_network() {
        let unusable = |entry: &str| {
            let no_proxy = vec!["a.b".into(), entry.into()];
            let egress = Settings { no_proxy, ..Settings::default() };
            egress.unusable_exception().map(str::to_owned)
        };
        for entry in
            ["*", "", "proxy-1", ".internal", "10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "a, b"]
        {
            assert_eq!(unusable(entry), None, "{entry}");
        }
        for entry in ["*.internal", "http://a", "a:8080", "10.0.0.0/33", "a b", "[::1]", "10.0/8"] {
            assert_eq!(unusable(entry).as_deref(), Some(entry));
        }
    }
}
