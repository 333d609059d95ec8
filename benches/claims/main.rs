//! What a claim costs: the worker beside a raw loop that does the same work and promises nothing.
//!
//! `make bench` runs it; `docs/performance.md` says what it measures and what came of it. The
//! figure that holds from machine to machine is the ratio: CPU time of the worker per claim,
//! divided by that of the raw loop, measured in turn on the same broker, database and simulator. In
//! reading order: [`plan`] says what is run, [`run`] how one run is measured, [`report`] what is
//! printed. [`raw`] is the raw loop, a process of its own like the worker and the simulator.
//!
//! The invariant: a run that did not decide every claim, or left a row out, has no figure.

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

/// The worker's: the raw loop is to be on the same libraries.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What goes wrong in a benchmark ends it with a sentence.
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
        // What `cargo bench` adds; without it somebody runs all targets to see that they start.
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
