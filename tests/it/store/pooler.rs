//! A pooler between the store and PostgreSQL: PgBouncer as far as it matters here, so that no test
//! needs one.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::TestDatabase;

/// What PgBouncer takes in a start-up packet without being told to ignore it.
const TAKEN: [&str; 7] = [
    "user",
    "database",
    "client_encoding",
    "datestyle",
    "timezone",
    "standard_conforming_strings",
    "application_name",
];

/// What a pooler does with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It refuses settings in the start-up packet, as by default.
    Refuses,
    /// It leaves them out: `ignore_startup_parameters = options, extra_float_digits`.
    Ignores,
    /// `pool_mode = transaction` with one connection to the server, which clients take turns in.
    Shares,
}

/// A pooler before the test's database; returns the URL that leads through it.
pub(super) async fn pooler(database: &TestDatabase, mode: Mode) -> String {
    let options = database.pool.connect_options();
    let server: SocketAddr =
        format!("{}:{}", options.get_host(), options.get_port()).parse().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let shared = Arc::new(Mutex::new(None));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, server, mode, Arc::clone(&shared)));
        }
    });
    let name = options.get_database().expect("a database");
    format!("postgres://{}@{address}/{name}?sslmode=disable", options.get_username())
}

/// The one connection of [`Mode::Shares`], and what the server said when it began.
type Shared = Arc<Mutex<Option<(TcpStream, Vec<u8>)>>>;

async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    mode: Mode,
    shared: Shared,
) -> Option<()> {
    let length = client.read_u32().await.ok()? as usize;
    let mut packet = vec![0; length - 4];
    client.read_exact(&mut packet).await.ok()?;
    let texts: Vec<&str> = packet[4..]
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .collect();
    let pairs = texts.chunks_exact(2).filter(|pair| !pair[0].is_empty());
    let (taken, other): (Vec<_>, Vec<_>) =
        pairs.partition(|pair| TAKEN.contains(&pair[0].to_ascii_lowercase().as_str()));
    if let Some(pair) = other.first().filter(|_| mode == Mode::Refuses) {
        let said = format!("SFATAL\0C08P01\0Munsupported startup parameter: {}\0\0", pair[0]);
        client.write_all(&message(b'E', said.as_bytes())).await.ok()?;
        return None;
    }
    let mut startup = packet[..4].to_vec();
    for pair in taken {
        startup.extend(format!("{}\0{}\0", pair[0], pair[1]).as_bytes());
    }
    startup.push(0);
    let startup = [&(startup.len() as u32 + 4).to_be_bytes()[..], &startup].concat();
    if mode != Mode::Shares {
        let mut server = TcpStream::connect(server).await.ok()?;
        server.write_all(&startup).await.ok()?;
        copy_bidirectional(&mut client, &mut server).await.ok()?;
        return None;
    }
    let mut one = Arc::clone(&shared).lock_owned().await;
    if one.is_none() {
        let mut server = TcpStream::connect(server).await.ok()?;
        server.write_all(&startup).await.ok()?;
        let (said, _) = answer(&mut server).await?;
        *one = Some((server, said));
    }
    client.write_all(&one.as_ref()?.1).await.ok()?;
    drop(one);
    loop {
        transaction(&mut client, Arc::clone(&shared).lock_owned().await).await?;
    }
}

/// Lends the connection to a client until its transaction has ended.
async fn transaction(
    client: &mut TcpStream,
    mut one: OwnedMutexGuard<Option<(TcpStream, Vec<u8>)>>,
) -> Option<()> {
    let mut peek = [0];
    // Nobody keeps the connection who has nothing to say.
    if let Err(_elapsed) =
        tokio::time::timeout(std::time::Duration::from_millis(5), client.peek(&mut peek)).await
    {
        return Some(());
    }
    loop {
        let (server, _) = one.as_mut()?;
        let mut last = 0;
        while last != b'S' && last != b'Q' {
            let (kind, bytes) = read(client).await?;
            if kind == b'X' {
                return None;
            }
            server.write_all(&bytes).await.ok()?;
            last = kind;
        }
        let (said, idle) = answer(server).await?;
        client.write_all(&said).await.ok()?;
        if idle {
            return Some(());
        }
    }
}

/// What the server says until it is ready, and whether it is outside of a transaction then.
async fn answer(server: &mut TcpStream) -> Option<(Vec<u8>, bool)> {
    let mut said = Vec::new();
    loop {
        let (kind, bytes) = read(server).await?;
        said.extend(&bytes);
        if kind == b'Z' {
            return Some((said, bytes.last() == Some(&b'I')));
        }
    }
}

async fn read(from: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let kind = from.read_u8().await.ok()?;
    let length = from.read_u32().await.ok()?;
    let mut body = vec![0; length as usize - 4];
    from.read_exact(&mut body).await.ok()?;
    Some((kind, message(kind, &body)))
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}
