//! What the process uses, as Linux reports it, under the names that all Prometheus clients use.
//!
//! On other systems, and where `/proc` cannot be read, the figures stay 0. The time when the
//! process started is not read there, because a sandbox hides when the machine was booted.

use metrics::{Counter, Gauge, counter, gauge};

use super::metrics as names;

/// The metrics of the process.
pub(super) struct Process {
    cpu: Counter,
    memory: Gauge,
    open_files: Gauge,
}

impl Process {
    /// The metrics of this process. `started` is the UNIX time when it started, or a moment later.
    pub(super) fn new(started: i64) -> Self {
        let started = u32::try_from(started).unwrap_or(0);
        gauge!(names::PROCESS_START.name).set(f64::from(started));
        Self {
            cpu: counter!(names::PROCESS_CPU.name),
            memory: gauge!(names::PROCESS_MEMORY.name),
            open_files: gauge!(names::PROCESS_FDS.name),
        }
    }

    /// Reads the figures. One that cannot be read keeps its value.
    #[cfg(target_os = "linux")]
    pub(super) fn look(&self) {
        let Ok(process) = procfs::process::Process::myself() else { return };
        if let Ok(files) = process.fd_count() {
            self.open_files.set(super::meter::float(files));
        }
        let Ok(stat) = process.stat() else { return };
        let ticks = procfs::ticks_per_second().max(1);
        self.cpu.absolute(stat.utime.saturating_add(stat.stime) / ticks);
        let pages = u32::try_from(stat.rss).unwrap_or(u32::MAX);
        let page = u32::try_from(procfs::page_size()).unwrap_or(u32::MAX);
        self.memory.set(f64::from(pages) * f64::from(page));
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn look(&self) {
        let Self { cpu: _, memory: _, open_files: _ } = self;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_memory_and_its_files() {
        let recorder = names::builder().expect("valid buckets").build_recorder();
        metrics::with_local_recorder(&recorder, || Process::new(7).look());
        let rendered = recorder.handle().render();
        for name in
            ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"]
        {
            let line = rendered.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = line.and_then(|value| value.parse().ok()).expect("a number");
            assert!(value > 0.0, "{name} {value}");
        }
    }
}
