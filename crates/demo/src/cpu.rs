//! CPU time of this process by thread, from Linux' `/proc`; other systems have none.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::worker;

/// One tick of the times in `/proc`: a hundredth of a second on every Linux (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// CPU times of the whole process, and of the threads that run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CpuTimes {
    whole: Duration,
    threads: BTreeMap<String, (String, Duration)>,
}

/// What was spent between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    /// By the whole process.
    pub(super) whole: Duration,
    /// By the worker's loop, its consumer and its publisher.
    pub(super) worker: Duration,
    /// By the threads of librdkafka: the worker's, the demo's and the mock broker, which cannot be
    /// distinguished.
    pub(super) librdkafka: Duration,
}

/// Reads them now.
pub(super) fn read() -> Option<CpuTimes> {
    let (_, whole) = stat(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        // A thread may have ended since it was listed.
        if let Some(thread) =
            fs::read_to_string(entry.path().join("stat")).ok().as_deref().and_then(stat)
        {
            threads.insert(id, thread);
        }
    }
    Some(CpuTimes { whole, threads })
}

/// What was spent since.
pub(super) fn since(before: Option<&CpuTimes>) -> Option<Spent> {
    Some(spent(before?, &read()?))
}

fn spent(before: &CpuTimes, after: &CpuTimes) -> Spent {
    let of = |is: &dyn Fn(&str) -> bool| {
        let spent =
            after.threads.iter().filter(|(_, (name, _))| is(name)).map(|(id, (_, time))| {
                let start = before.threads.get(id).map_or(Duration::ZERO, |(_, time)| *time);
                time.saturating_sub(start)
            });
        spent.sum()
    };
    Spent {
        whole: after.whole.saturating_sub(before.whole),
        worker: of(&|name| [worker::THREAD, "consumer", "publisher"].contains(&name)),
        librdkafka: of(&|name| name.starts_with("rdk:")),
    }
}

/// Name and CPU time in a `stat` file: `17 (name) S 1 …`, where the name may hold anything.
fn stat(text: &str) -> Option<(String, Duration)> {
    let (head, rest) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((name.to_owned(), TICK * user.checked_add(system)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_file_is_read_whatever_the_thread_is_called() {
        let text = "1234 (rdk:bro) ker1) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 100 1 2";
        assert_eq!(stat(text), Some(("rdk:bro) ker1".to_owned(), Duration::from_secs(3))));
        assert_eq!(stat("nonsense"), None);
    }

    #[test]
    fn what_was_spent_is_told_apart_by_thread() {
        let times = |whole, worker, broker| CpuTimes {
            whole: Duration::from_secs(whole),
            threads: [("1", worker::THREAD, worker), ("2", "rdk:broker1", broker)]
                .map(|(id, name, time)| {
                    (id.to_owned(), (name.to_owned(), Duration::from_secs(time)))
                })
                .into(),
        };
        let Spent { whole, worker, librdkafka } = spent(&times(10, 3, 1), &times(17, 5, 2));
        assert_eq!([whole, worker, librdkafka].map(|time| time.as_secs()), [7, 2, 1]);
    }
}
