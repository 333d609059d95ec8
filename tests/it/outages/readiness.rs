//! `/readyz` of a worker that has nothing to do.

use std::time::Duration;

use tokio::time::Instant;

use super::World;
use crate::lab::services;
use crate::service::Service;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_notices_what_is_gone() {
    if services().is_none() {
        return;
    }
    let Some((kafka, bootstrap)) = Service::start("kafka.sh") else { return };
    let Some((postgres, url)) = Service::start("postgres.sh") else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port")
        .port();
    let world =
        World::at("idle", bootstrap, url, |_| format!("[http]\nlisten = \"127.0.0.1:{port}\""))
            .await;
    let ready = async || {
        let answer =
            reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await.expect("an answer");
        answer.text().await.expect("a body")
    };
    let within = async |bound: u64, what: &str, text: &str| {
        let began = Instant::now();
        world
            .lab
            .wait(what, Duration::from_secs(bound), async || ready().await.contains(text))
            .await;
        println!("idle: {what} after {} ms", began.elapsed().as_millis());
    };
    within(1, "ready", "ok").await;
    postgres.run("stop");
    within(15, "Postgres missed", "store is not ready: PostgreSQL at ").await;
    postgres.run("start");
    within(5, "Postgres found again", "ok").await;
    kafka.run("kill");
    within(10, "Kafka missed", "broker is not ready: no broker of ").await;
    kafka.run("start");
    within(15, "Kafka found again", "ok").await;
    world.finish().await;
}
