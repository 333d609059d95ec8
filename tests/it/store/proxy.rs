//! A network between the store and PostgreSQL that can fall silent: no error, no close, nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a server.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Connections made while this holds swallow what they are sent, from now on and for ever.
    silence: watch::Sender<bool>,
}

impl Proxy {
    /// A proxy before the server at `host:port`.
    pub(crate) async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (silence, _) = watch::channel(false);
        let sender = silence.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server answers");
                // A connection hears of a silence once and stays silent; one made later hears of the next.
                let fallen = Arc::new(sender.subscribe());
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                tokio::spawn(forward(client_in, server_out, Arc::clone(&fallen)));
                tokio::spawn(forward(server_in, client_out, fallen));
            }
        });
        Self { address, silence }
    }

    /// Silences the connections there are; those to come work.
    pub(crate) fn fall_silent(&self) {
        self.silence.send_replace(true);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fallen: Arc<watch::Receiver<bool>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // The receiver never marks what it saw, so that a change stays a change.
        if fallen.has_changed().unwrap_or(true) {
            continue;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    if fallen.has_changed().unwrap_or(true) {
        std::future::pending::<()>().await;
    }
}
