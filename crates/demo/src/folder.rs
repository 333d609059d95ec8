//! The demo's folder, with the database, the scripts and the log while it runs.
//!
//! The invariant: only files that the demo made are deleted.

use std::fs;
use std::path::{Path, PathBuf};

use super::postgres::Server;

/// Below the current directory, when it is one of a Rust project.
const PROJECT: &str = "target/demo";
/// The prefix of a folder's name in the system's temporary folder.
const TEMPORARY: &str = "claimgate-demo-";

/// The demo's folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The user named it, so the log stays.
    named: bool,
}

impl Folder {
    /// Makes the folder: `named`, or `target/demo/<pid>` if there is a `target`, or a temporary
    /// one.
    pub(super) fn make(named: Option<&Path>) -> Result<Self, String> {
        let pid = std::process::id();
        let path = match named {
            Some(path) => path.to_owned(),
            None if Path::new("target").is_dir() => {
                clean_up(Path::new(PROJECT));
                Path::new(PROJECT).join(pid.to_string())
            }
            None => std::env::temp_dir().join(format!("{TEMPORARY}{pid}")),
        };
        let cannot = |error| format!("cannot make the folder {}: {error}", path.display());
        if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(format!(
                "the folder {} is not empty; the demo wants one of its own (--dir)",
                path.display()
            ));
        }
        fs::create_dir_all(&path).map_err(cannot)?;
        let path = path.canonicalize().map_err(cannot)?;
        Ok(Self { path, named: named.is_some() })
    }

    /// Its absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The worker's log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("worker.log")
    }

    /// Deletes what is no longer needed. The log stays if it was asked for, or if the demo
    /// `failed`.
    pub(super) fn tidy(&self, failed: bool) {
        let path = if self.named || failed { self.path.join("scripts") } else { self.path.clone() };
        if let Err(error) = fs::remove_dir_all(&path) {
            eprintln!("cannot delete {}: {error}", path.display());
        }
    }
}

/// A demo that was killed could not clean up. Folders are named by the process that made them.
fn clean_up(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let pid = name.parse::<u32>().ok();
        let running = Path::new("/proc").join(name).join("comm");
        let is_demo = fs::read_to_string(running).is_ok_and(|comm| comm.trim() == "claimgate-demo");
        if pid.is_none() || is_demo || !path.join("postgres").is_dir() {
            continue;
        }
        eprintln!("removing what an earlier demo left in {}", path.display());
        let removed =
            Server::new(&path, path.join("postgres")).and_then(|server| server.command("remove"));
        let gone =
            removed.and_then(|_| fs::remove_dir_all(&path).map_err(|error| error.to_string()));
        if let Err(problem) = gone {
            eprintln!("{problem}");
        }
    }
}
