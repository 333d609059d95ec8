//! Measures the cost of a claim: the worker compared with a raw loop that does the same work
//! without guarantees.
//!
//! `make bench` runs it; `docs/performance.md` says what it measures and has the results. The
//! figure that is comparable between machines is the ratio: CPU time of the worker per claim,
//! divided by that of the raw loop, measured in turn on the same broker, database and simulator. In
//! reading order: [`plan`] says what is run, [`run`] how one run is measured, [`report`] what is
//! printed. [`raw`] is the raw loop, a process of its own like the worker and the simulator.
//!
//! The invariant: a run has figures only if it decided every claim and wrote every row.

use std::path::PathBuf;
use std::process::ExitCode;

mod event;
mod events;
mod lab;
mod observer;
mod plan;
mod process;
mod raw;
mod report;
mod run;
mod scenario;
mod services;

/// The worker's allocator: the raw loop has to use the same libraries.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An error ends the benchmark with a sentence.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The hidden first argument that makes this program the raw loop; the second one is its
/// configuration.
const RAW_LOOP: &str = "raw-loop";
/// The one that makes it the simulator; the others are the simulator's own.
const SIMULATOR: &str = "simulator";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [RAW_LOOP, config] => raw::run(&PathBuf::from(config)),
        [SIMULATOR, ..] => lab::simulate(&arguments),
        // `cargo bench` adds this argument. Without it, the program only shows that it starts.
        _ if arguments.iter().any(|argument| argument == "--bench") => {
            plan::Plan::from_environment().and_then(|plan| plan.run())
        }
        _ => {
            println!("nothing measured: `make bench` does");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
