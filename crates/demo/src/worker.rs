//! The worker, as in `claimgate run`: with its own thread, runtime and log.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::oneshot;

use super::claims::MAX_EVENT_BYTES;
use claimgate::config::Config;
use claimgate::{service, telemetry};
use claimgate_simulator::{APP_ID, APP_SECRET, SECRET_ID, SECRET_KEY};

/// The name of the worker's thread, by which its CPU time is found.
pub(super) const THREAD: &str = "worker";

/// How long a claim is retried before it is deferred.
pub(super) const IN_PROCESS_FOR: &str = "2s";
/// How long a claim is tried before it is decided without an answer.
pub(super) const GIVE_UP_AFTER: &str = "8s";

/// A running worker.
pub(super) struct Worker {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    ended: Arc<OnceLock<Result<(), String>>>,
    prometheus: PrometheusHandle,
}

/// The worker's configuration: the defaults, the demo's addresses, and times short enough for a
/// demo.
pub(super) fn config(
    bootstrap_servers: &str,
    postgres: &str,
    risk_apis: &str,
) -> Result<Config, String> {
    let http = free_port().map_err(|error| format!("no free port on 127.0.0.1: {error}"))?;
    let apis = ["intelligent_qr_code", "mini_program", "captcha_query", "captcha_check"];
    let apis: String = apis
        .iter()
        .map(|api| format!("[risk.{api}]\nbase_url = \"{risk_apis}\"\ntimeout = \"1s\"\n"))
        // Of captcha_check: the demo's claims are of 2021.
        .chain(["ticket_lifetime = \"100years\"\n".to_owned()])
        .collect();
    let toml = format!(
        "[kafka]
        bootstrap_servers = \"{bootstrap_servers}\"
        group_id = \"claimgate-demo\"
        guarantee = \"at_least_once\"
        max_event_bytes = {MAX_EVENT_BYTES}
        [kafka.properties]
        \"fetch.wait.max.ms\" = \"10\"
        [postgres]
        url = \"{postgres}\"
        connect_timeout = \"1s\"
        [worker]
        drain_timeout = \"5s\"
        [retry]
        initial_interval = \"100ms\"
        max_interval = \"1s\"
        in_process_for = \"{IN_PROCESS_FOR}\"
        defer_interval = \"1s\"
        defer_max_interval = \"2s\"
        give_up_after = \"{GIVE_UP_AFTER}\"
        retry_after_max = \"1s\"
        [tencent_cloud]
        secret_id = \"{SECRET_ID}\"
        secret_key = \"{SECRET_KEY}\"
        [wechat]
        app_id = \"{APP_ID}\"
        app_secret = \"{APP_SECRET}\"
        base_url = \"{risk_apis}\"
        [risk.wechat_marketing]
        timeout = \"1s\"
        [risk.wechat_account]
        timeout = \"1s\"
        [http]
        listen = \"127.0.0.1:{http}\"
        {apis}"
    );
    Config::from_toml(&toml)
        .map_err(|error| format!("the demo's own configuration is wrong: {error}"))
}

/// The system picks a port; it is unlikely that another program takes it before the worker does.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Worker {
    /// Starts it, with its log in a file.
    pub(super) fn start(config: Config, log: &Path) -> Result<Self, String> {
        let file = File::create(log)
            .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let telemetry = telemetry::init_to(&config.telemetry, "demo", Arc::new(file))
            .map_err(|error| error.to_string())?;
        let prometheus = telemetry.prometheus();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = Arc::new(OnceLock::new());
        let end = Arc::clone(&ended);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
                let result = runtime
                    .block_on(service::run(config, &telemetry, async { drop(stopped.await) }));
                runtime.shutdown_timeout(Duration::from_secs(1));
                result
            });
            telemetry.shutdown();
            end.get_or_init(|| result);
        };
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(work);
        let thread =
            thread.map_err(|error| format!("cannot start the worker's thread: {error}"))?;
        Ok(Self { stop: Some(stop), thread: Some(thread), ended, prometheus })
    }

    /// Its end, if it has ended. Before it was told to stop, that is always an error.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.ended.get() {
            Some(Err(sentence)) => Err(format!("the worker ended: {sentence}")),
            Some(Ok(())) => Err("the worker ended without being told to".to_owned()),
            None if self.thread.as_ref().is_none_or(JoinHandle::is_finished) => {
                Err("the worker panicked".to_owned())
            }
            None => Ok(()),
        }
    }

    /// A metric, summed over its labels.
    pub(super) fn metric(&self, name: &str) -> usize {
        metric(&self.prometheus.render(), name)
    }

    /// Reads a metric from any thread.
    pub(super) fn counter(&self, name: &'static str) -> impl Fn() -> usize + Send + 'static {
        let prometheus = self.prometheus.clone();
        move || metric(&prometheus.render(), name)
    }

    /// Reads several metrics at the cost of one.
    pub(super) fn metrics<const N: usize>(&self, names: [&str; N]) -> [usize; N] {
        let text = self.prometheus.render();
        names.map(|name| metric(&text, name))
    }

    /// Stops it and waits until it has drained. Blocks.
    pub(super) fn stop(mut self) -> Result<(), String> {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            return Err("the worker panicked".to_owned());
        }
        self.ended
            .get()
            .cloned()
            .unwrap_or(Ok(()))
            .map_err(|sentence| format!("the worker ended: {sentence}"))
    }
}

/// Sums a metric over its labels in Prometheus' text. Counters and whole gauges only.
fn metric(text: &str, name: &str) -> usize {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let value =
            if rest.starts_with('{') { rest.rsplit_once("} ")?.1 } else { rest.strip_prefix(' ')? };
        value.trim().parse::<usize>().ok()
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_over_its_labels() {
        let text = "# TYPE a_total counter\na_total{api=\"x\"} 3\na_total{api=\"y } 7\"} 4\n\
            a_total_more 9\nb 2\n";
        assert_eq!([metric(text, "a_total"), metric(text, "b"), metric(text, "c")], [7, 2, 0]);
    }

    #[test]
    fn the_configuration_is_whole() {
        let config = config(
            "127.0.0.1:1",
            "postgres://claimgate@127.0.0.1:2/claimgate",
            "http://127.0.0.1:3",
        );
        let config = config.expect("good");
        let (registry, _) = config.risk_apis().expect("every API builds");
        assert_eq!(registry.len(), config.risk.len());
    }
}
