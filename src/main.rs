//! The `claimgate` command: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match claimgate::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(sentence) = failure.sentence {
                eprintln!("claimgate: {sentence}");
            }
            ExitCode::from(failure.code)
        }
    }
}
