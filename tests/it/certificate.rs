//! A self-signed certificate: clients trust it only if they are given it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use claimgate_simulator::TlsFiles;

/// A certificate for the loopback address and `localhost`, and its key, in PEM.
pub(crate) struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    /// `None`, with a note, without openssl.
    pub(crate) fn make() -> Option<Self> {
        let certificate = Self { folder: tempfile::tempdir().expect("a folder") };
        let make = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key",
            "-out",
            "cert",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ];
        let Ok(made) = certificate.openssl(&make).status() else {
            eprintln!("left out: there is no openssl");
            return None;
        };
        assert!(made.success(), "openssl makes a certificate");
        Some(certificate)
    }

    /// The file of the certificate.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("cert")
    }

    /// Both files.
    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.path(), key: self.folder.path().join("key") }
    }

    fn openssl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// A server with such a certificate, which answers every request.
pub(crate) struct Untrusted {
    server: Child,
    /// Where it listens on the loopback address.
    pub(crate) port: u16,
    pub(crate) certificate: Certificate,
}

impl Untrusted {
    /// `None`, with a note, without openssl.
    pub(crate) fn start() -> Option<Self> {
        let certificate = Certificate::make()?;
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let accept = port.to_string();
        let serve =
            ["s_server", "-accept", &accept, "-key", "key", "-cert", "cert", "-www", "-quiet"];
        let server = certificate.openssl(&serve).spawn().expect("openssl serves");
        let untrusted = Self { server, port, certificate };
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(untrusted);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("openssl does not listen");
    }
}

impl Drop for Untrusted {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}
