//! The options of a simulator.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::faults::Faults;

/// The SecretId of the provider's documents: published, and of no real account.
pub const SECRET_ID: &str = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA";
/// The SecretKey that belongs to [`SECRET_ID`].
pub const SECRET_KEY: &str = "Gu5t9xGARNpq86cd98joQYCN3Cozk1qA";
/// The app id that the simulator knows; fictional.
pub const APP_ID: &str = "wx0000000000000001";
/// The app secret that belongs to [`APP_ID`]; fictional.
pub const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
/// The host that Tencent Cloud requests are signed for.
pub const SIGNED_HOST: &str = "csec.api.qcloud.com";

/// How a simulator behaves. `Default` is a simulator on a free port of the loopback address that
/// knows the published credentials and makes no faults.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serves over TLS; without, in plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The SecretId it knows; another one is refused with 4104.
    pub secret_id: String,
    /// The key that signatures must be made with (4100).
    pub secret_key: SecretString,
    /// The host in the text that is signed.
    pub signed_host: String,
    /// How far a `Timestamp` may be off (4200); `None` takes any.
    pub clock_tolerance: Option<Duration>,
    /// The app id that may fetch access tokens (40013).
    pub app_id: String,
    /// Its secret (40125).
    pub app_secret: SecretString,
    /// `expires_in` of a new access token.
    pub token_life: Duration,
    /// How long a token is still good after a newer one was fetched.
    pub token_grace: Duration,
    /// Whether there is a `/cgi-bin/stable_token`; without, it is answered with HTTP 404.
    pub has_stable_token: bool,
    /// How long a captcha ticket is valid, if it says when it was issued.
    pub ticket_life: Duration,
    /// Accepts parameters that the documents do not name, as the real APIs probably do. Otherwise
    /// they are refused, so that a misspelt optional parameter is found.
    pub lenient: bool,
    /// The faults at the start; they can be changed at any time.
    pub faults: Faults,
    /// The seed of the random faults: the same seed gives the same faults for the same calls.
    pub seed: u64,
    /// How many calls the log remembers; each takes about 250 bytes.
    pub log_capacity: usize,
    /// How many whole requests are remembered ([`super::Requested`]); each takes as much as it had
    /// bytes, 1 MiB at most.
    pub remember_requests: usize,
}

/// With what the simulator proves its identity: two files in PEM. Over TLS it offers HTTP/2, too.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those between it and an authority.
    pub certificate: PathBuf,
    /// Its private key, in PKCS #8.
    pub key: PathBuf,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            tls: None,
            secret_id: SECRET_ID.to_owned(),
            secret_key: SECRET_KEY.into(),
            signed_host: SIGNED_HOST.to_owned(),
            clock_tolerance: Some(Duration::from_secs(300)),
            app_id: APP_ID.to_owned(),
            app_secret: APP_SECRET.into(),
            token_life: Duration::from_secs(7200),
            token_grace: Duration::from_secs(300),
            has_stable_token: true,
            ticket_life: Duration::from_secs(20 * 60),
            lenient: false,
            faults: Faults::default(),
            seed: 1,
            log_capacity: 1_000_000,
            remember_requests: 0,
        }
    }
}
