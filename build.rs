//! Tells the program which commit it is built from, and cargo that a new migration is a change:
//! `sqlx::migrate!` embeds them. Warns where the allocator's settings are missing.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    warn_of_allocator();
    println!("cargo:rerun-if-env-changed=CLAIMGATE_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let commit = commit();
    let long = commit.as_ref().map(|commit| format!("{version} ({commit})"));
    println!("cargo:rustc-env=CLAIMGATE_VERSION={}", long.as_deref().unwrap_or(version));
    println!("cargo:rustc-env=CLAIMGATE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The allocator is built with settings of the environment, which `.cargo/config.toml` sets. Cargo
/// looks for that file where it is called, not where the package is: `cargo install --path` from
/// another folder, or a packager's own build folder, does without it.
fn warn_of_allocator() {
    const SETTINGS: &str = "JEMALLOC_SYS_WITH_MALLOC_CONF";
    println!("cargo:rerun-if-env-changed={SETTINGS}");
    let is_linux = std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux");
    if is_linux && std::env::var_os(SETTINGS).is_none() {
        println!(
            "cargo:warning={SETTINGS} is not set, so the worker will take more memory: build in \
             claimgate's own folder, or set what its .cargo/config.toml sets"
        );
    }
}

/// `CLAIMGATE_COMMIT` names the commit; without it, git does for builds that are to be run. A build
/// for tests does not ask git, or each commit would rebuild the tests.
fn commit() -> Option<String> {
    let told = std::env::var("CLAIMGATE_COMMIT").unwrap_or_default();
    let asked = || {
        if std::env::var("PROFILE").as_deref() != Ok("release") {
            return None;
        }
        println!("cargo:rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
        git(&["rev-parse", "--short=12", "HEAD"])
    };
    let commit = if told.is_empty() { asked() } else { Some(told) };
    commit.filter(|commit| commit != "unknown")
}

/// What git says; nothing where there is no git, or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}
