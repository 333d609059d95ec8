//! The `claimgate-demo` command: arguments in, exit code out.

use std::process::ExitCode;
use std::time::Duration;

use claimgate_demo::DemoArgs;
use clap::Parser;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    match show(DemoArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("claimgate-demo: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo on a runtime of two threads; the worker has one of its own.
fn show(args: DemoArgs) -> Result<(), String> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let result = runtime.block_on(claimgate_demo::run(args));
    // A thread that still waits for a broker does not delay the end of the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}
