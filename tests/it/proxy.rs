//! A network between a worker and a server that can fall silent: it reports no error and closes no
//! connection.
//!
//! Data that are sent during a silence are held, as by a network that retransmits: they arrive when
//! the silence ends, even if late, unless the connection is cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::service::Service;

/// Forwards connections to a server.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    network: watch::Sender<Network>,
}

/// What holds now. Connections are numbered as they come.
#[derive(Debug, Default)]
struct Network {
    /// Host and port of the server; without one a connection is closed.
    server: Option<String>,
    connections: u64,
    /// Connections with lower numbers are silent.
    silent_below: u64,
    /// Connections with lower numbers are closed.
    cut_below: u64,
    /// The next Kafka request of this kind, and everything behind it on its connection, is delayed
    /// by this time.
    late: Option<(i16, Duration)>,
}

impl Proxy {
    /// A proxy before the server at `host:port`.
    pub(crate) async fn before(server: String) -> Self {
        let proxy = Self::alone().await;
        proxy.lead_to(server);
        proxy
    }

    /// A Kafka of its own, a proxy before it, and the address by which Kafka is reached without the
    /// proxy. `None` where the script that starts Kafka leaves the test out.
    pub(crate) async fn before_kafka() -> Option<(Service, Self, String)> {
        let proxy = Self::alone().await;
        let port = proxy.address.port().to_string();
        let (kafka, bootstrap) =
            Service::start_with("kafka.sh", &[("CLAIMGATE_KAFKA_PROXY", port)])?;
        proxy.lead_to(format!("127.0.0.1:{}", kafka.file("proxied").trim()));
        Some((kafka, proxy, bootstrap))
    }

    /// A proxy whose server is not known yet.
    async fn alone() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (network, _) = watch::channel(Network::default());
        let sender = network.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut number = 0;
                sender.send_modify(|network| {
                    number = network.connections;
                    network.connections += 1;
                });
                tokio::spawn(connect(client, number, sender.clone()));
            }
        });
        Self { address, network }
    }

    /// From now on connections go to the server at `host:port`.
    pub(crate) fn lead_to(&self, server: String) {
        self.network.send_modify(|network| network.server = Some(server));
    }

    /// The connections that came so far.
    pub(crate) fn connections(&self) -> u64 {
        self.network.borrow().connections
    }

    /// Silences all existing and new connections.
    pub(crate) fn fall_silent(&self) {
        self.network.send_modify(|network| network.silent_below = u64::MAX);
    }

    /// Silences all existing connections for ever; new ones work.
    pub(crate) fn forget_connections(&self) {
        self.network.send_modify(|network| network.silent_below = network.connections);
    }

    /// Ends a silence: held data arrive now.
    pub(crate) fn resume(&self) {
        self.network.send_modify(|network| network.silent_below = 0);
    }

    /// Ends a silence: existing connections are closed, and held data are lost.
    pub(crate) fn cut(&self) {
        self.network.send_modify(|network| {
            network.cut_below = network.connections;
            network.silent_below = 0;
        });
    }

    /// Delays the next Kafka request of this kind (the protocol's `api_key`), and everything behind
    /// it on its connection.
    pub(crate) fn hold_up(&self, request: i16, late: Duration) {
        self.network.send_modify(|network| network.late = Some((request, late)));
    }

    /// Whether the request to delay has come.
    pub(crate) fn has_held_up(&self) -> bool {
        self.network.borrow().late.is_none()
    }
}

/// Forwards one connection in both directions until it ends or is cut.
async fn connect(client: TcpStream, number: u64, sender: watch::Sender<Network>) {
    let network = sender.subscribe();
    // A silent network does not even report that there is no listener.
    if passes(&mut network.clone(), number).await.is_err() {
        return;
    }
    let server = network.borrow().server.clone();
    let Some(server) = server else { return };
    let Ok(server) = TcpStream::connect(&server).await else { return };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let there = requests(client_in, server_out, number, sender);
    let back = forward(server_in, client_out, number, network.clone());
    let mut network = network;
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = network.wait_for(|network| number < network.cut_below) => {}
    }
}

/// Waits until a connection is not silent.
async fn passes(network: &mut watch::Receiver<Network>, number: u64) -> Result<(), ()> {
    network.wait_for(|network| number >= network.silent_below).await.map(drop).map_err(drop)
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut network: watch::Receiver<Network>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        // An end is as silent as everything else.
        if passes(&mut network, number).await.is_err()
            || length == 0
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}

/// As [`forward`], with an eye on what each request is, should they be Kafka's: a length in four
/// bytes, then the kind in two.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    sender: watch::Sender<Network>,
) {
    let mut network = sender.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    let (mut head, mut rest) = (Vec::with_capacity(6), 0_usize);
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        let mut sent = 0;
        for (index, byte) in buffer[..length].iter().enumerate() {
            if rest > 0 {
                rest -= 1;
                continue;
            }
            head.push(*byte);
            if head.len() < 6 {
                continue;
            }
            let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let kind = i16::from_be_bytes([head[4], head[5]]);
            (rest, head) = (size.saturating_sub(2), Vec::with_capacity(6));
            let mut late = None;
            sender.send_if_modified(|network| {
                late = network.late.take_if(|(request, _)| *request == kind).map(|(_, late)| late);
                late.is_some()
            });
            if let Some(late) = late {
                // What came before it is on its way; the server waits for the rest of a request
                // that has begun.
                if to.write_all(&buffer[sent..index]).await.is_err() {
                    return;
                }
                sent = index;
                tokio::time::sleep(late).await;
            }
        }
        if passes(&mut network, number).await.is_err()
            || length == 0
            || to.write_all(&buffer[sent..length]).await.is_err()
        {
            return;
        }
    }
}
