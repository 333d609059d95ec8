//! The report as text for a terminal. Pure.

use super::api::ApiStatus;
use super::report::StatusReport;
use super::samples::total;
use super::worker::{Count, Failures, Figures, WorkerStatus};
use crate::audit::shown::{instant, printable_line, table};

const NONE: &str = "–";

impl StatusReport {
    /// One screen: first what is wrong, then workers, risk APIs and failures.
    pub(super) fn text(&self) -> String {
        let ready = self.workers.iter().filter(|worker| worker.ready).count();
        let mut text = format!(
            "{} of {} workers are ready. {}, rates over {}.\n",
            ready,
            self.workers.len(),
            instant(self.at.replace_millisecond(0).unwrap_or(self.at)),
            duration(self.seconds),
        );
        for wrong in &self.wrong {
            text.push_str(&format!("! {}\n", printable_line(wrong)));
        }
        for table in [self.workers_table(), self.apis_table(), self.failures_table()] {
            text.push('\n');
            text.push_str(&table);
        }
        text
    }

    fn workers_table(&self) -> String {
        let header = [
            "worker",
            "ready",
            "partitions",
            "decided/s",
            "admitted/s",
            "in flight",
            "undecided",
            "oldest",
            "lag",
        ];
        let all = (self.workers.len() > 1).then(|| all_row(&self.workers));
        table(header, self.workers.iter().map(worker_row).chain(all))
    }

    fn apis_table(&self) -> String {
        let header = [
            "api", "breaker", "calls", "p50", "p99", "errors/s", "waiting", "deferred", "next due",
            "oldest",
        ];
        let now = f64::from(u32::try_from(self.at.unix_timestamp()).unwrap_or(u32::MAX));
        table(header, self.apis.iter().map(|api| api_row(api, now)))
    }

    fn failures_table(&self) -> String {
        let header = [
            "worker",
            "connections",
            "failed writes",
            "aborted transactions",
            "fenced producers",
            "failed commits",
            "lost records",
        ];
        table(header, self.workers.iter().filter_map(failure_row))
    }
}

fn worker_row(worker: &WorkerStatus) -> [String; 9] {
    let name = name(&worker.url);
    let Some(figures) = &worker.figures else {
        return [name, "?", NONE, NONE, NONE, NONE, NONE, NONE, NONE].map(str::to_owned);
    };
    let Figures { claims_partitions, retry_partitions, .. } = figures;
    let ready = match (worker.ready, figures.intake_paused) {
        (true, false) => "yes",
        (true, true) => "yes, paused",
        (false, _) => "no",
    };
    [
        name.to_owned(),
        ready.to_owned(),
        format!("{claims_partitions} + {retry_partitions}"),
        rate(figures.decided_per_second),
        rate(figures.admitted_per_second),
        figures.in_flight.to_string(),
        figures.undecided.to_string(),
        duration(figures.oldest_seconds),
        figures.lag.to_string(),
    ]
}

/// The totals of all workers that answered.
fn all_row(workers: &[WorkerStatus]) -> [String; 9] {
    let known = || workers.iter().filter_map(|worker| worker.figures.as_ref());
    let sum = |of: fn(&Figures) -> f64| total(known().map(of));
    let oldest = known().map(|figures| figures.oldest_seconds).fold(0.0, f64::max);
    let ready = workers.iter().filter(|worker| worker.ready).count();
    let claims = sum(|figures| figures.claims_partitions);
    [
        "all".to_owned(),
        format!("{ready} of {}", workers.len()),
        format!("{claims} + {}", sum(|figures| figures.retry_partitions)),
        rate(sum(|figures| figures.decided_per_second)),
        rate(sum(|figures| figures.admitted_per_second)),
        sum(|figures| figures.in_flight).to_string(),
        sum(|figures| figures.undecided).to_string(),
        duration(oldest),
        sum(|figures| figures.lag).to_string(),
    ]
}

/// `now` is UNIX time.
fn api_row(api: &ApiStatus, now: f64) -> [String; 10] {
    let breaker = match (api.denied, api.open_breakers) {
        (1.., _) => "access denied",
        (0, 1..) => "open",
        (0, 0) => "closed",
    };
    let due = |due: f64| if due > now { duration(due - now) } else { "now".to_owned() };
    [
        api.api.clone(),
        breaker.to_owned(),
        format!("{}/{}", api.calls, api.calls_limit),
        api.p50_seconds.map_or_else(|| NONE.to_owned(), duration),
        api.p99_seconds.map_or_else(|| NONE.to_owned(), duration),
        rate(api.errors_per_second),
        api.waiting.to_string(),
        api.deferred.to_string(),
        api.next_due.map_or_else(|| NONE.to_owned(), due),
        duration(api.oldest_seconds),
    ]
}

fn failure_row(worker: &WorkerStatus) -> Option<[String; 7]> {
    let figures = worker.figures.as_ref()?;
    let Failures {
        failed_writes,
        aborted_transactions,
        fenced_producers,
        failed_commits,
        lost_records,
    } = &figures.failures;
    let Figures { postgres_connections: open, postgres_connections_in_use: in_use, .. } = figures;
    Some([
        name(&worker.url).to_owned(),
        format!("{in_use} of {open} in use"),
        count(failed_writes),
        count(aborted_transactions),
        count(fenced_producers),
        count(failed_commits),
        count(lost_records),
    ])
}

/// A worker's address without the scheme.
fn name(url: &str) -> &str {
    url.strip_prefix("http://").unwrap_or(url)
}

fn rate(per_second: f64) -> String {
    format!("{per_second:.1}")
}

/// Since the start, and within the interval if there was any.
fn count(count: &Count) -> String {
    let Count { total, new } = count;
    if *new > 0.0 { format!("{total} (+{new})") } else { total.to_string() }
}

/// A duration in a suitable unit.
fn duration(seconds: f64) -> String {
    if seconds <= 0.0 {
        return NONE.to_owned();
    }
    if seconds < 1.0 {
        let places = usize::from(seconds < 0.01);
        return format!("{:.places$} ms", seconds * 1_000.0);
    }
    match std::time::Duration::try_from_secs_f64(seconds) {
        Ok(long) if seconds >= 100.0 => {
            let whole = std::time::Duration::from_secs(long.as_secs());
            humantime::format_duration(whole).to_string()
        }
        Ok(_) | Err(_) => format!("{seconds:.1} s"),
    }
}
