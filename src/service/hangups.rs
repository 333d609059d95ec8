//! SIGHUP: reads the configuration again, and applies what can change while the worker runs.
//!
//! Here that is the filter of log lines. `secrets` handles the signal, too.

use std::path::Path;
use std::pin::pin;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, warn};

use crate::config::Config;
use crate::telemetry::Telemetry;

/// Runs the work; SIGHUP does not end it.
///
/// # Errors
/// The errors of the work.
pub async fn with_hangups(
    file: Option<&Path>,
    telemetry: &Telemetry,
    work: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let hangups = signal(SignalKind::hangup());
    let mut work = pin!(work);
    let Ok(mut hangups) = hangups else { return work.await };
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            told = hangups.recv() => match told {
                Some(()) => read_again(file, telemetry),
                None => return work.await,
            },
        }
    }
}

fn read_again(file: Option<&Path>, telemetry: &Telemetry) {
    let config = Config::load(file).map_err(|error| error.to_string());
    match config.and_then(|config| telemetry.change_filter(&config.telemetry)) {
        // A warning, so that most filters let it through.
        Ok(filter) => {
            warn!(
                "SIGHUP: log lines are filtered by {filter:?} from now on; secrets are read again, \
                 all other settings need a restart"
            );
        }
        Err(problem) => {
            error!("SIGHUP: nothing was changed, because the configuration is invalid: {problem}")
        }
    }
}
