//! The HTTP client's setup: which certificates are trusted, by which way calls leave, and over
//! which version of HTTP.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use native_tls::{Certificate, Protocol, TlsConnector};

use super::egress;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// An HTTP/2 connection on which calls wait is asked whether it is alive if it was silent for this
/// long. Without that, each call on a connection that is dead would wait for its timeout.
const PING_AFTER: Duration = Duration::from_secs(2);

/// An HTTP/2 connection that does not answer a ping for this long is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of certificates cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// `egress.ca_certificates`.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The file has no certificate, or one that is none.
    #[error("{}: this is not a file of certificates in PEM", path.display())]
    NoCertificates {
        /// `egress.ca_certificates`.
        path: PathBuf,
    },
    /// The TLS library could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] native_tls::Error),
    /// The proxy's address is invalid.
    #[error(transparent)]
    Library(#[from] reqwest::Error),
}

impl ClientError {
    /// The setting that is at fault.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } | Self::NoCertificates { .. } | Self::Tls(_) => {
                "egress.ca_certificates"
            }
            Self::Library(_) => "egress.proxy",
        }
    }
}

/// The clients of which each call uses one. For HTTP/1.1 one client is enough: it opens a
/// connection for each call at once. For HTTP/2 there are as many clients as connections, because a
/// client keeps one connection to a server, and the server bounds its calls at once. Calls that
/// find no connection yet each open one: whether the server takes HTTP/2 is known only then.
pub(super) fn clients(
    egress: &egress::Settings,
    shortest: Duration,
) -> Result<Vec<reqwest::Client>, ClientError> {
    let tls = tls(egress)?;
    let client = |_| client(egress, shortest, tls.clone());
    (0..egress.http2_connections.max(1)).map(client).collect()
}

/// TLS for all clients, made once: reading the system's certificates takes longer than all the
/// rest. The library verifies certificates and the names of hosts by default.
fn tls(egress: &egress::Settings) -> Result<TlsConnector, ClientError> {
    let offered: &[&str] = match egress.http2_connections {
        0 => &["http/1.1"],
        _ => &["h2", "http/1.1"],
    };
    let mut tls = TlsConnector::builder();
    tls.min_protocol_version(Some(Protocol::Tlsv12)).request_alpns(offered);
    let authorities = egress.ca_certificates().map(authorities).transpose()?;
    for authority in authorities.unwrap_or_default() {
        tls.add_root_certificate(authority);
    }
    Ok(tls.build()?)
}

fn client(
    egress: &egress::Settings,
    shortest: Duration,
    tls: TlsConnector,
) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("claimgate/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_backend_preconfigured(tls)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(CONNECT_MAX.min(shortest / 2))
        .pool_idle_timeout(Duration::from_secs(30))
        // A retry by the client would send the same nonce again, which the APIs refuse as a
        // replay.
        .retry(reqwest::retry::never());
    builder = match egress.http2_connections {
        0 => builder.http1_only(),
        _ => builder.http2_keep_alive_interval(PING_AFTER).http2_keep_alive_timeout(PING_TIMEOUT),
    };
    if let Some(url) = egress.proxy() {
        let no_proxy = reqwest::NoProxy::from_string(&egress.no_proxy.join(","));
        builder = builder.proxy(reqwest::Proxy::all(url)?.no_proxy(no_proxy));
    }
    Ok(builder.build()?)
}

/// The certificates of a file.
fn authorities(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let path = path.to_owned();
    let pem = match fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(ClientError::Unreadable { path, source }),
    };
    match Certificate::stack_from_pem(&pem) {
        Ok(authorities) if !authorities.is_empty() => Ok(authorities),
        _ => Err(ClientError::NoCertificates { path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_names_no_file() {
        let egress = egress::Settings { ca_certificates: Some("".into()), ..Default::default() };
        assert!(clients(&egress, CONNECT_MAX).is_ok(), "as an empty egress.proxy is no proxy");
    }

    /// The bytes that this thread has read so far.
    #[cfg(target_os = "linux")]
    fn bytes_read() -> u64 {
        let counts = fs::read_to_string("/proc/thread-self/io").expect("the kernel counts them");
        let count = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
        count.and_then(|count| count.parse().ok()).expect("a number")
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn many_clients_read_the_systems_certificates_once() {
        let reads = |http2_connections| {
            let egress = egress::Settings { http2_connections, ..Default::default() };
            let before = bytes_read();
            clients(&egress, CONNECT_MAX).expect("clients");
            bytes_read() - before
        };
        // The first client of a process also finds out where the certificates are.
        reads(1);
        let (one, many) = (reads(1), reads(64));
        assert!(many < 2 * one, "{many} bytes for 64 clients, {one} for one");
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |name: &str| {
            let ca_certificates = Some(folder.path().join(name));
            let egress = egress::Settings { ca_certificates, ..Default::default() };
            let error = clients(&egress, CONNECT_MAX).expect_err(name);
            assert_eq!(error.key(), "egress.ca_certificates");
            error.to_string()
        };
        let missing = refused("missing.pem");
        assert!(missing.contains("missing.pem: No such file"), "{missing}");
        let broken = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
        for (name, text) in [("empty.pem", ""), ("key.pem", "no PEM"), ("broken.pem", broken)] {
            fs::write(folder.path().join(name), text).expect("a file");
            let why = refused(name);
            assert!(
                why.ends_with(&format!("{name}: this is not a file of certificates in PEM")),
                "{why}"
            );
        }
    }
}
