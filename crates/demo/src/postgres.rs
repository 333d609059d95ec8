//! A private PostgreSQL in the demo's folder, started by the project's scripts, which are embedded
//! in this binary.
//!
//! The invariant: a started server is removed, by [`Postgres::remove`] or, after an error or a
//! panic, by the drop.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// What the scripts share.
const LIB: &str = include_str!("../../../scripts/lib.sh");
/// Starts and stops PostgreSQL.
const SCRIPT: &str = include_str!("../../../scripts/postgres.sh");
/// What to do if there is none.
const NONE: &str = "the demo needs PostgreSQL's server programs, and there are none in \
    /usr/lib/postgresql/*/bin or PATH; install them with: sudo apt-get install \
    --no-install-recommends postgresql";

/// The script, and the folder that it works on. Its commands block: call them where that does no
/// harm.
///
/// Clones share a lock: one command runs at a time, and none after `remove`. Otherwise a server
/// could be started again that is never stopped.
#[derive(Debug, Clone)]
pub(super) struct Server {
    script: PathBuf,
    folder: PathBuf,
    is_removed: Arc<Mutex<bool>>,
}

impl Server {
    /// Writes the scripts into the demo's folder. The server's data go into `folder`.
    pub(super) fn new(demo: &Path, folder: PathBuf) -> Result<Self, String> {
        let scripts = demo.join("scripts");
        let write = |name: &str, text: &str| fs::write(scripts.join(name), text);
        let written = fs::create_dir_all(&scripts).and_then(|()| write("lib.sh", LIB));
        written
            .and_then(|()| write("postgres.sh", SCRIPT))
            .map_err(|error| format!("cannot write into {}: {error}", scripts.display()))?;
        Ok(Self { script: scripts.join("postgres.sh"), folder, is_removed: Arc::default() })
    }

    /// Whether there is a PostgreSQL to start.
    pub(super) fn check_programs(&self) -> Result<(), String> {
        let mut command = Command::new("bash");
        command
            .args(["-c", ". \"$1\" && postgres_programs", "bash"])
            .arg(self.script.with_file_name("lib.sh"));
        output(command)
            .map(drop)
            .map_err(|problem| if problem.is_empty() { NONE.to_owned() } else { problem })
    }

    /// `start`, `stop`, `kill` or `remove`; returns what the script printed.
    pub(super) fn command(&self, what: &str) -> Result<String, String> {
        let mut is_removed = self.is_removed.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_removed {
            return Err(format!("PostgreSQL in {} ({what}): it is removed", self.folder.display()));
        }
        *is_removed = what == "remove";
        let mut command = Command::new("bash");
        command.arg(&self.script).arg(what).arg(&self.folder);
        output(command).map_err(|problem| {
            let problem = if problem.is_empty() { "it says nothing" } else { &problem };
            format!("PostgreSQL in {} ({what}): {problem}", self.folder.display())
        })
    }

    /// The server's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Runs a command to its end; the error is its last line on stderr.
fn output(mut command: Command) -> Result<String, String> {
    // It has a process group of its own: the terminal's Ctrl-C goes only to the demo, which then
    // stops the server in order.
    let ended = command.stdin(Stdio::null()).process_group(0).output();
    let ended =
        ended.map_err(|error| format!("the demo needs bash to start PostgreSQL: {error}"))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(last.trim_start_matches("postgres.sh: ").to_owned())
}

/// A running PostgreSQL.
#[derive(Debug)]
pub(super) struct Postgres {
    server: Server,
    url: String,
    is_removed: bool,
}

impl Postgres {
    /// Starts it; it answers when this returns.
    pub(super) fn start(server: Server) -> Result<Self, String> {
        server.check_programs()?;
        let mut postgres = Self { server, url: String::new(), is_removed: false };
        let printed = postgres.server.command("start")?;
        postgres.url = printed.split_once('=').map(|(_, url)| url.to_owned()).unwrap_or_default();
        Ok(postgres)
    }

    /// Its URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Stops and starts it.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Stops it and deletes its data.
    pub(super) fn remove(mut self) -> Result<(), String> {
        self.is_removed = true;
        self.server.command("remove").map(drop)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !self.is_removed
            && let Err(problem) = self.server.command("remove")
        {
            eprintln!("{problem}");
        }
    }
}
