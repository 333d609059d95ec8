//! What a process has used so far, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::Outcome;

/// What a process has used since it started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    /// CPU time of all its threads, ended ones too, in the kernel and outside it.
    pub(crate) cpu: Duration,
    /// CPU time by the names of threads that still run.
    pub(crate) threads: BTreeMap<String, Duration>,
    /// Context switches of threads that still run, voluntary or not.
    pub(crate) switches: u64,
    /// Its peak memory in bytes.
    pub(crate) peak_rss: u64,
}

impl Usage {
    /// Of the process with this id.
    pub(crate) fn of(pid: u32) -> Outcome<Self> {
        let mut usage = Self { cpu: cpu(pid)?, ..Self::default() };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        usage.peak_rss = 1024 * field(&status, "VmHWM:");
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end while it is read.
            let task = task?;
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let is_main = task.file_name().to_string_lossy() == pid.to_string();
            let name = if is_main { "main".to_owned() } else { group(read("comm").trim()) };
            let nanoseconds = read("schedstat")
                .split(' ')
                .next()
                .and_then(|first| first.parse().ok())
                .unwrap_or(0);
            *usage.threads.entry(name).or_default() += Duration::from_nanos(nanoseconds);
            let status = read("status");
            usage.switches += field(&status, "voluntary_ctxt_switches:")
                + field(&status, "nonvoluntary_ctxt_switches:");
        }
        Ok(usage)
    }

    /// What was used since `before`; the memory is the peak since the start.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier = |name: &str| before.threads.get(name).copied().unwrap_or_default();
        let threads = self
            .threads
            .iter()
            .map(|(name, cpu)| (name.clone(), cpu.saturating_sub(earlier(name))));
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            threads: threads.collect(),
            switches: self.switches.saturating_sub(before.switches),
            peak_rss: self.peak_rss,
        }
    }
}

/// User and system time of a process.
pub(crate) fn cpu(pid: u32) -> Outcome<Duration> {
    Ok(ticks(times(pid)?[..2].iter().sum()))
}

/// The same of a process and its children, with those that have ended.
pub(crate) fn cpu_of_tree(pid: u32) -> Outcome<Duration> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let of = |child: &str| Some(times(child.parse().ok()?).ok()?[..2].iter().sum::<u64>());
    // A process that ends meanwhile counts with its parent the next time.
    let children: u64 = children.split_whitespace().filter_map(of).sum();
    Ok(ticks(times(pid)?.iter().sum::<u64>() + children))
}

/// User and system time of a process, and the same of its ended children, in ticks. The kernel
/// counts nanoseconds and reports hundredths of a second.
fn times(pid: u32) -> Outcome<[u64; 4]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold blanks and brackets itself.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/<pid>/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let at = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
            .ok_or("no times in /proc/<pid>/stat")
    };
    Ok([at(11)?, at(12)?, at(13)?, at(14)?])
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / ticks_per_second())
}

fn ticks_per_second() -> u64 {
    static TICKS: OnceLock<u64> = OnceLock::new();
    *TICKS.get_or_init(|| {
        let said = Command::new("getconf").arg("CLK_TCK").output().ok();
        let said =
            said.and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok());
        said.filter(|ticks| *ticks > 0).unwrap_or(100)
    })
}

/// librdkafka has a thread for each broker and client; the number in its name does not matter here.
fn group(name: &str) -> String {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned()
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
