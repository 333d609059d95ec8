//! Takes connections on, with TLS or without.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use native_tls::Identity;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_native_tls::{TlsAcceptor, TlsStream};
use tokio_util::either::Either;

use super::SimulatorError;
use super::options::TlsFiles;
use super::wire::{Cut, Wire};

/// How long a client may take for its part of the handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Connections that are taken on and not served yet.
const ROOM: usize = 64;

/// A connection.
type Stream = Either<Wire, TlsStream<Wire>>;

/// A listener whose connections can be reset by a [`Cut`].
pub(super) struct Door {
    address: SocketAddr,
    arrived: mpsc::Receiver<Stream>,
}

impl Door {
    /// Takes connections on until it is dropped. Those with TLS shake hands beside each other.
    pub(super) fn open(
        listener: TcpListener,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let (arrive, arrived) = mpsc::channel(ROOM);
        tokio::spawn(take_on(listener, tls, arrive));
        Self { address, arrived }
    }
}

async fn take_on(
    mut listener: TcpListener,
    tls: Option<TlsAcceptor>,
    arrive: mpsc::Sender<Stream>,
) {
    loop {
        let (stream, _) = tokio::select! {
            () = arrive.closed() => return,
            taken = Listener::accept(&mut listener) => taken,
        };
        let wire = Wire::new(stream);
        let Some(tls) = tls.clone() else {
            // It fails if the server has stopped; then the loop ends, too.
            drop(arrive.send(Either::Left(wire)).await);
            continue;
        };
        let arrive = arrive.clone();
        tokio::spawn(async move {
            match timeout(HANDSHAKE_WITHIN, tls.accept(wire)).await {
                Ok(Ok(stream)) => drop(arrive.send(Either::Right(stream)).await),
                Ok(Err(error)) => tracing::debug!(%error, "a client does not agree on TLS"),
                Err(_) => tracing::debug!("a client begins no TLS"),
            }
        });
    }
}

impl Listener for Door {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.arrived.recv().await {
            Some(stream) => (stream, self.address),
            // The runtime is ending.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, Door>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        let wire = match stream.io() {
            Either::Left(wire) => wire,
            Either::Right(stream) => stream.get_ref().get_ref().get_ref(),
        };
        wire.cut().clone()
    }
}

/// What shakes hands with these files.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, SimulatorError> {
    let refuse = |path: &Path, source: Box<dyn Error + Send + Sync>| SimulatorError::Tls {
        path: path.to_owned(),
        source,
    };
    let read = |path| fs::read(path).map_err(|error| refuse(path, error.into()));
    let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
    let identity = Identity::from_pkcs8(&certificate, &key)
        .map_err(|error| refuse(&files.certificate, error.into()))?;
    let acceptor =
        native_tls::TlsAcceptor::builder(identity).accept_alpn(&["h2", "http/1.1"]).build();
    Ok(acceptor.map_err(|error| refuse(&files.certificate, error.into()))?.into())
}
