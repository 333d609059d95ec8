//! Measures its speed: `cargo test --release -- --ignored --nocapture`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::*;

#[test]
#[ignore = "a measurement, of use in a release build only"]
fn requests_per_second_of_one_core() {
    let server =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let simulator = server.block_on(Simulator::start(SimulatorOptions::default())).unwrap();
    let address = simulator.address();
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http = Client { simulator, http: reqwest::Client::new(), nonce: std::cell::Cell::new(1) };
    let token = client.block_on(http.token());
    let tencent_cloud = |n: usize| {
        let query = http.query(
            &format!("account-{n}"),
            &[("dayTimes", "3"), ("share", "1"), ("totaltimes", "10")],
        );
        format!("GET /v2/index.php?{query} HTTP/1.1\r\nhost: x\r\n\r\n")
    };
    let market = |n: usize| {
        let body = marketing(&format!("account-{n}"), &format!("clm-{n}-1")).to_string();
        let path = format!("/tcb/servicemarket?access_token={token}");
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let requests: [(&str, &dyn Fn(usize) -> String); 2] =
        [("IntelligentQRCode", &tencent_cloud), ("servicemarket", &market)];
    for (name, request) in requests {
        let lanes: Vec<Vec<String>> =
            (0..32).map(|lane| (0..5000).map(|n| request(lane * 5000 + n)).collect()).collect();
        let cpu = server_cpu(&server, &client);
        let start = Instant::now();
        client.block_on(async {
            let lanes: Vec<_> = lanes.into_iter().map(|lane| drive(address, lane)).collect();
            futures::future::join_all(lanes).await;
        });
        let (took, cpu) = (start.elapsed(), server_cpu(&server, &client) - cpu);
        let calls = 32.0 * 5000.0;
        println!(
            "{name}: {:.0} requests/s, {:.1} µs of server thread each",
            calls / took.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / calls
        );
    }
    let totals = http.simulator.calls().totals();
    assert_eq!(
        totals[&Api::IntelligentQrCode].outcomes,
        BTreeMap::from([(Outcome::Answered, 160_000)])
    );
}

async fn drive(address: SocketAddr, requests: Vec<String>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 4096];
    for request in requests {
        stream.write_all(request.as_bytes()).await.unwrap();
        // Every answer here is one small segment and ends its JSON object.
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200") && buffer[..read].ends_with(b"}"));
    }
}

/// The CPU time of the server's only thread.
fn server_cpu(server: &Runtime, client: &Runtime) -> Duration {
    let stat =
        server.spawn(async { std::fs::read_to_string("/proc/thread-self/schedstat").unwrap() });
    let stat = client.block_on(stat).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
