//! The `claimgate-simulator` command: arguments in, exit code out.

use std::process::ExitCode;
use std::time::Duration;

use claimgate_simulator::SimulateArgs;
use clap::Parser;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    match serve(SimulateArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("claimgate-simulator: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Serves on a runtime of two threads until SIGINT or SIGTERM.
fn serve(args: SimulateArgs) -> Result<(), String> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let result = runtime.block_on(claimgate_simulator::run(args));
    // A connection in the middle of a request does not delay the end of the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map_err(|error| error.to_string())
}
