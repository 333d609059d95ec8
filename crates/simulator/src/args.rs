//! `claimgate-simulator`: the simulator as a server of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

use super::faults::{ApiFaults, Faults, Latency};
use super::options::{
    APP_ID, APP_SECRET, SECRET_ID, SECRET_KEY, SIGNED_HOST, SimulatorOptions, TlsFiles,
};
use super::{Simulator, SimulatorError};

/// Serve the simulated risk APIs: Tencent Cloud on /v2/index.php, WeChat on /tcb/servicemarket,
/// /wxa/servicemarket and /cgi-bin, and /control/… for faults and the log of calls.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct SimulateArgs {
    /// Where to listen; nothing is authenticated, so keep it off public networks
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Serve over TLS, with the certificate in this file (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM, PKCS #8)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// The SecretId that is known
    #[arg(long, default_value = SECRET_ID, value_name = "ID")]
    pub secret_id: String,
    /// The key that requests must be signed with [default: the one of the provider's documents]
    #[arg(long, default_value = SECRET_KEY, hide_default_value = true, value_name = "KEY")]
    pub secret_key: SecretString,
    /// The host that requests must be signed for
    #[arg(long, default_value = SIGNED_HOST, value_name = "HOST")]
    pub signed_host: String,
    /// How far a Timestamp may be off, or `off`
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = tolerance)]
    pub clock_tolerance: Tolerance,
    /// The WeChat app id that is known
    #[arg(long, default_value = APP_ID, value_name = "ID")]
    pub app_id: String,
    /// The secret of the app id [default: a documented constant]
    #[arg(long, default_value = APP_SECRET, hide_default_value = true, value_name = "SECRET")]
    pub app_secret: SecretString,
    /// How long an access token lasts
    #[arg(long, default_value = "2h", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub token_life: Duration,
    /// How long an access token is good after a newer one was fetched
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub token_grace: Duration,
    /// Answer /cgi-bin/stable_token with HTTP 404
    #[arg(long)]
    pub no_stable_token: bool,
    /// How long a captcha's ticket lasts, if it says by `at-SECONDS` when it was earned
    #[arg(long, default_value = "20m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub ticket_life: Duration,
    /// Take parameters that the documents do not name
    #[arg(long)]
    pub lenient: bool,
    /// How long each answer takes: `20ms`; `10ms..50ms` for anything between; `100ms~2s` for half
    /// within the first, 99 of 100 within the second
    #[arg(long, default_value = "0ms", value_name = "TIME", value_parser = latency)]
    pub latency: Latency,
    /// Share of calls answered with a transient provider code
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub transient_rate: f64,
    /// Share of calls answered with HTTP 5xx
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub server_error_rate: f64,
    /// Share of calls answered with HTTP 429
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub too_many_rate: f64,
    /// Share of calls that are never answered
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub hang_rate: f64,
    /// Share of calls whose connection is reset
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub reset_rate: f64,
    /// Share of calls answered with something that is no answer
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub malformed_rate: f64,
    /// The same seed makes the same faults for the same calls
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many calls the log remembers
    #[arg(long, default_value_t = 1_000_000, value_name = "CALLS")]
    pub log_capacity: usize,
    /// How many whole requests are remembered, with their signatures and tokens
    #[arg(long, default_value_t = 0, value_name = "REQUESTS")]
    pub remember_requests: usize,
}

/// How far a `Timestamp` may be off; `None` accepts any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance(pub Option<Duration>);

impl From<SimulateArgs> for SimulatorOptions {
    fn from(args: SimulateArgs) -> Self {
        let all = ApiFaults {
            transient: args.transient_rate,
            server_error: args.server_error_rate,
            too_many: args.too_many_rate,
            hang: args.hang_rate,
            reset: args.reset_rate,
            malformed: args.malformed_rate,
            latency: args.latency,
            ..ApiFaults::default()
        };
        Self {
            listen: args.listen,
            tls: args
                .tls_certificate
                .zip(args.tls_key)
                .map(|(certificate, key)| TlsFiles { certificate, key }),
            secret_id: args.secret_id,
            secret_key: args.secret_key,
            signed_host: args.signed_host,
            clock_tolerance: args.clock_tolerance.0,
            app_id: args.app_id,
            app_secret: args.app_secret,
            token_life: args.token_life,
            token_grace: args.token_grace,
            has_stable_token: !args.no_stable_token,
            ticket_life: args.ticket_life,
            lenient: args.lenient,
            faults: Faults { all, ..Faults::default() },
            seed: args.seed,
            log_capacity: args.log_capacity,
            remember_requests: args.remember_requests,
        }
    }
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// [`SimulatorError`] if the address cannot be had or the rates make no sense.
pub async fn run(args: SimulateArgs) -> Result<(), SimulatorError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(SimulatorError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(SimulatorError::Signals)?;
    let simulator = Simulator::start(args.into()).await?;
    println!("claimgate simulates the risk APIs on {}", simulator.base_url());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

fn tolerance(text: &str) -> Result<Tolerance, humantime::DurationError> {
    if text == "off" {
        return Ok(Tolerance(None));
    }
    humantime::parse_duration(text).map(|time| Tolerance(Some(time)))
}

fn latency(text: &str) -> Result<Latency, humantime::DurationError> {
    let ms = |text| humantime::parse_duration(text).map(|time| time.as_secs_f64() * 1000.0);
    if let Some((half, most)) = text.split_once('~') {
        return Ok(Latency::LogNormal(ms(half)?, ms(most)?));
    }
    match text.split_once("..") {
        Some((low, high)) => Ok(Latency::Uniform(ms(low)?, ms(high)?)),
        None => ms(text).map(|ms| if ms > 0.0 { Latency::Fixed(ms) } else { Latency::None }),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: SimulateArgs,
    }

    #[test]
    fn flags_become_options_and_no_secret_is_shown() {
        Cli::command().debug_assert();
        let line = "simulate --listen 127.0.0.1:0 --latency 10ms..30ms --transient-rate 0.02 \
                    --seed 7 --clock-tolerance off";
        let options = SimulatorOptions::from(Cli::parse_from(line.split(' ')).args);
        assert_eq!(options.faults.all.latency, Latency::Uniform(10.0, 30.0));
        assert_eq!(
            (options.faults.all.transient, options.clock_tolerance, options.seed),
            (0.02, None, 7)
        );
        let shown = format!("{options:?} {}", Cli::command().render_long_help());
        assert!(!shown.contains(SECRET_KEY) && !shown.contains(APP_SECRET));
        let plain = SimulatorOptions::from(Cli::parse_from(["simulate", "--latency", "20ms"]).args);
        assert_eq!(plain.faults.all.latency, Latency::Fixed(20.0));
        assert_eq!(plain.clock_tolerance, SimulatorOptions::default().clock_tolerance);
        let tail = SimulatorOptions::from(Cli::parse_from(["simulate", "--latency=1ms~2s"]).args);
        assert_eq!(tail.faults.all.latency, Latency::LogNormal(1.0, 2_000.0));
        assert!(Cli::try_parse_from(["simulate", "--latency", "fast"]).is_err());
    }
}
