//! How far each partition was read, compared with its log: which records retention removed before
//! they were read, which were read again, and where reading is blocked.
//!
//! Pure. The invariant: an offset counts as lost only if it lies below the log's start, was not
//! read, and was not done before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::intake::offset_map::OffsetMap;
use crate::intake::{Assigned, Commit, Partition};

/// The most gaps in the offsets per partition that are kept until the log is checked again.
const GAPS: usize = 64;

/// The log of a partition, by the last answer to a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Log {
    /// Its first offset.
    pub(super) start: i64,
    /// The offset after its last record.
    pub(super) end: i64,
    /// The offset of the first record of a transaction that is open, or `end`.
    pub(super) stable: i64,
    /// The offset that is fetched next, and whether all records before it were handed over.
    pub(super) position: Option<i64>,
}

/// What is known about each partition.
#[derive(Debug, Default)]
pub(super) struct Progress {
    partitions: BTreeMap<Partition, State>,
}

#[derive(Debug)]
struct State {
    epoch: u32,
    /// What the group had committed, and when that was read.
    committed: Option<(i64, String)>,
    since: Instant,
    /// The next offset to be read: the one after the last or, before the first, the committed one;
    /// `None` if there is neither. Retention moves it on.
    next: Option<i64>,
    /// The same, but retention does not move it.
    read: Option<i64>,
    /// The offsets below `end` that were not done when the partition was assigned.
    open: BTreeSet<i64>,
    /// Where the offset map of the assignment ended.
    end: i64,
    /// Offsets without a record since the log was last checked: from the first, to before the
    /// second.
    gaps: Vec<(i64, i64)>,
    held_up: Option<HeldUp>,
    /// All records below this offset were handed over.
    position: Option<i64>,
    /// When reading last went back. A commit from before that says nothing about what was read
    /// since.
    went_back: Option<Instant>,
    /// Whether the next statistics may be from before reading went back.
    are_statistics_old: bool,
}

/// An open transaction blocks reading.
#[derive(Debug, Clone, Copy)]
struct HeldUp {
    since: Instant,
    /// The offset of the transaction's first record.
    at: i64,
    /// Whether that was logged.
    is_told: bool,
}

impl Progress {
    /// A partition was taken on.
    pub(super) fn assigned(&mut self, assigned: &Assigned, now: Instant) {
        let map = assigned
            .offset
            .map(|offset| OffsetMap::decode(offset, &assigned.metadata, assigned.log_end));
        let map = map.and_then(Result::ok);
        let state = State {
            epoch: assigned.epoch,
            committed: assigned.offset.map(|offset| (offset, assigned.metadata.clone())),
            since: now,
            next: assigned.offset,
            read: assigned.offset,
            end: map.as_ref().map_or(0, OffsetMap::end),
            open: map.map(OffsetMap::into_open).unwrap_or_default(),
            gaps: Vec::new(),
            held_up: None,
            position: None,
            went_back: None,
            are_statistics_old: false,
        };
        self.partitions.insert(assigned.partition, state);
    }

    /// A partition was given back.
    pub(super) fn revoked(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
    }

    /// A record was read. If reading went back, returns the offset that had been expected.
    pub(super) fn read(&mut self, partition: Partition, offset: i64, now: Instant) -> Option<i64> {
        let state = self.partitions.get_mut(&partition)?;
        state.read = Some(offset.saturating_add(1));
        let expected = std::mem::replace(&mut state.next, state.read).unwrap_or(offset);
        if offset > expected && state.gaps.len() < GAPS {
            state.gaps.push((expected, offset));
        }
        if offset < expected {
            (state.went_back, state.are_statistics_old, state.position) = (Some(now), true, None);
        }
        (offset < expected).then_some(expected)
    }

    /// Compares what was read with new statistics of a partition's log. Returns how many records
    /// were lost to retention since the last ones.
    pub(super) fn compare(&mut self, partition: Partition, log: Log, now: Instant) -> u64 {
        let Some(state) = self.partitions.get_mut(&partition) else { return 0 };
        let is_old = std::mem::take(&mut state.are_statistics_old);
        let log = Log { position: log.position.filter(|_| !is_old), ..log };
        let mut lost: i64 = std::mem::take(&mut state.gaps)
            .into_iter()
            .map(|(from, to)| state.unread(from, to.min(log.start)))
            .sum();
        if log.position.is_some()
            && let Some(next) = state.next.filter(|next| *next < log.start)
        {
            lost += state.unread(next, log.start);
            state.next = Some(log.start);
        }
        state.position = log.position;
        let stands = log.stable < log.end && log.position == Some(log.stable);
        state.held_up = match state.held_up {
            Some(held_up) if stands && held_up.at == log.stable => Some(held_up),
            _ => stands.then_some(HeldUp { since: now, at: log.stable, is_told: false }),
        };
        u64::try_from(lost).unwrap_or(0)
    }

    /// For how long an open transaction has blocked the partition that is blocked for longest.
    pub(super) fn held_up(&self, now: Instant) -> Option<Duration> {
        let held_up = self.partitions.values().filter_map(|state| state.held_up);
        held_up.map(|held_up| now.saturating_duration_since(held_up.since)).max()
    }

    /// The partitions that an open transaction has blocked for `limit` or longer, each with the
    /// transaction's offset and how long it lasts. Each is returned once.
    pub(super) fn held_up_too_long(
        &mut self,
        limit: Duration,
        now: Instant,
    ) -> Vec<(Partition, i64, Duration)> {
        let too_long = |(partition, state): (&Partition, &mut State)| {
            let held_up = state.held_up.as_mut()?;
            let lasted = now.saturating_duration_since(held_up.since);
            let is_new = lasted >= limit && !held_up.is_told;
            held_up.is_told |= is_new;
            is_new.then_some((*partition, held_up.at, lasted))
        };
        self.partitions.iter_mut().filter_map(too_long).collect()
    }

    /// The commits to make without a batch, given the last commits and their times: the start of a
    /// partition for which nothing was committed yet, so that a restart does not take its first
    /// records for old ones; offsets beyond a stretch without records; and commits that are
    /// `refresh` old.
    pub(super) fn following(
        &self,
        last: &BTreeMap<Partition, (Commit, Instant)>,
        refresh: Duration,
        now: Instant,
    ) -> Vec<Commit> {
        let follow = |(partition, state): (&Partition, &State)| {
            let commit = |offset, metadata| Commit {
                partition: *partition,
                epoch: state.epoch,
                offset,
                metadata,
            };
            let own = last.get(partition).filter(|(last, _)| last.epoch == state.epoch).cloned();
            let before = state.committed.clone();
            let before = before.map(|(offset, metadata)| (commit(offset, metadata), state.since));
            let Some((commit, at)) = own.or(before) else {
                let begin = state.position.filter(|_| state.next.is_none())?;
                return Some(commit(begin, String::new()));
            };
            if state.went_back.is_some_and(|back| at <= back) {
                return None;
            }
            match state.beyond(commit.offset).filter(|_| commit.metadata.is_empty()) {
                Some(position) => Some(Commit { offset: position, ..commit }),
                None => (now.saturating_duration_since(at) >= refresh).then_some(commit),
            }
        };
        self.partitions.iter().filter_map(follow).collect()
    }
}

impl State {
    /// The end of the stretch without records behind a committed offset, if all before that offset
    /// is done. What retention removed belongs to the stretch: otherwise it would be reported as
    /// lost at each assignment.
    fn beyond(&self, committed: i64) -> Option<i64> {
        let all_below = self.read.is_some_and(|read| read <= committed) && self.end <= committed;
        self.position.filter(|position| all_below && *position > committed)
    }

    /// How many offsets of a range were not done when the partition was assigned.
    fn unread(&self, from: i64, to: i64) -> i64 {
        if from >= to {
            return 0;
        }
        let below = self.open.range(from..to.min(self.end).max(from)).count();
        i64::try_from(below).unwrap_or(i64::MAX) + (to - from.max(self.end)).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::offset_map;

    const CLAIMS: Partition = Partition { input: crate::intake::Input::Claims, number: 0 };

    fn at(offset: Option<i64>, metadata: String) -> Progress {
        let mut progress = Progress::default();
        progress.assigned(
            &Assigned { partition: CLAIMS, epoch: 7, offset, metadata, log_end: 1_000 },
            Instant::now(),
        );
        progress
    }

    fn log(start: i64, end: i64) -> Log {
        Log { start, end, stable: end, position: Some(end) }
    }

    #[test]
    fn what_retention_took_before_it_was_read_is_lost() {
        let now = Instant::now();
        let mut progress = at(Some(10), String::new());
        assert_eq!(progress.read(CLAIMS, 10, now), None);
        assert_eq!(progress.compare(CLAIMS, log(5, 100), now), 0);
        // Transaction markers and compaction make gaps, too.
        progress.read(CLAIMS, 20, now);
        assert_eq!(progress.compare(CLAIMS, log(5, 100), now), 0);
        progress.read(CLAIMS, 60, now);
        assert_eq!(progress.compare(CLAIMS, log(50, 100), now), 29, "21 to 49");
        assert_eq!(progress.compare(CLAIMS, log(50, 100), now), 0, "counted once");
        assert_eq!(progress.compare(CLAIMS, log(100, 100), now), 39, "nothing is left to be read");
        assert_eq!(progress.compare(CLAIMS, log(100, 100), now), 0);
    }

    #[test]
    fn what_was_done_before_is_not_lost() {
        let (open, now) = ([10, 15], Instant::now());
        let mut progress = at(Some(10), offset_map::encode(10, &open, 20));
        progress.read(CLAIMS, 30, now);
        assert_eq!(progress.compare(CLAIMS, log(25, 100), now), 2 + 5);
    }

    #[test]
    fn a_log_that_is_new_to_the_group_has_lost_nothing() {
        let (mut progress, now) = (at(None, String::new()), Instant::now());
        progress.read(CLAIMS, 500, now);
        assert_eq!(progress.compare(CLAIMS, log(500, 600), now), 0);
    }

    #[test]
    fn what_is_still_to_be_handed_over_is_not_lost() {
        let mut progress = at(Some(10), String::new());
        let log = Log { position: None, ..log(50, 100) };
        assert_eq!(progress.compare(CLAIMS, log, Instant::now()), 0);
    }

    #[test]
    fn a_step_back_is_noticed() {
        let (mut progress, now) = (at(Some(10), String::new()), Instant::now());
        let mut read = |partition, offset| progress.read(partition, offset, now);
        assert_eq!((read(CLAIMS, 10), read(CLAIMS, 0)), (None, Some(11)));
        assert_eq!((read(CLAIMS, 1), read(Partition::retry(0), 1)), (None, None));
    }

    /// As after an unclean leader election: other records have the offsets that were read.
    #[test]
    fn after_reading_went_back_earlier_knowledge_is_void() {
        let began = Instant::now();
        let later = |seconds| began + Duration::from_secs(seconds);
        let mut progress = at(Some(10), String::new());
        let followed = |progress: &Progress, at| -> Vec<i64> {
            let metadata = String::new();
            let last = Commit { partition: CLAIMS, epoch: 7, offset: 11, metadata };
            let commits = progress.following(&[(CLAIMS, (last, at))].into(), Duration::MAX, at);
            commits.iter().map(|commit| commit.offset).collect()
        };
        progress.read(CLAIMS, 10, began);
        progress.compare(CLAIMS, log(0, 12), later(1));
        assert_eq!(followed(&progress, later(1)), [12], "a marker");
        assert_eq!(progress.read(CLAIMS, 10, later(2)), Some(11));
        assert_eq!(followed(&progress, later(1)), [0; 0], "the other record is not done");
        assert_eq!(followed(&progress, later(3)), [0; 0], "what is behind it is not known");
        progress.compare(CLAIMS, log(0, 12), later(3));
        assert_eq!(followed(&progress, later(3)), [0; 0], "that may be old");
        progress.compare(CLAIMS, log(0, 12), later(6));
        assert_eq!(followed(&progress, later(1)), [0; 0], "whether it is done is not known");
        assert_eq!(followed(&progress, later(3)), [12]);
    }

    #[test]
    fn an_open_transaction_blocks_reading_from_its_first_record() {
        let began = Instant::now();
        let later = |seconds| began + Duration::from_secs(seconds);
        let mut progress = at(Some(10), String::new());
        let open = Log { stable: 40, position: Some(40), ..log(0, 100) };
        progress.compare(CLAIMS, Log { position: Some(30), ..open }, began);
        assert_eq!(progress.held_up(later(1)), None, "there is still something to read");
        progress.compare(CLAIMS, open, later(3));
        progress.compare(CLAIMS, open, later(6));
        assert_eq!(progress.held_up(later(9)), Some(Duration::from_secs(6)));
        progress.compare(CLAIMS, log(0, 100), later(9));
        assert_eq!(progress.held_up(later(9)), None);
    }

    /// The second was not told of while the first went on.
    #[test]
    fn each_partition_that_is_held_up_too_long_is_told_of_once() {
        let began = Instant::now();
        let later = |seconds| began + Duration::from_secs(seconds);
        let limit = Duration::from_secs(60);
        let (mut progress, other) = (at(Some(10), String::new()), Partition::retry(0));
        let (epoch, metadata) = (7, String::new());
        let assigned = Assigned { partition: other, epoch, offset: Some(0), metadata, log_end: 90 };
        progress.assigned(&assigned, began);
        let open = Log { stable: 40, position: Some(40), ..log(0, 100) };
        progress.compare(CLAIMS, open, began);
        progress.compare(other, open, later(30));
        assert_eq!(progress.held_up_too_long(limit, later(59)), []);
        assert_eq!(progress.held_up_too_long(limit, later(60)), [(CLAIMS, 40, limit)]);
        assert_eq!(progress.held_up_too_long(limit, later(70)), []);
        assert_eq!(progress.held_up_too_long(limit, later(90)), [(other, 40, limit)]);
        let again = Log { stable: 50, position: Some(50), ..open };
        progress.compare(CLAIMS, again, later(100));
        assert_eq!(progress.held_up_too_long(limit, later(160)), [(CLAIMS, 50, limit)]);
    }

    #[test]
    fn a_commit_passes_transaction_markers_when_all_before_is_done() {
        let (now, never) = (Instant::now(), Duration::MAX);
        let mut progress = at(Some(10), String::new());
        let followed = |progress: &Progress, last: &[(u32, i64, &str)]| -> Vec<i64> {
            let commit = |(epoch, offset, metadata): &(u32, i64, &str)| Commit {
                partition: CLAIMS,
                epoch: *epoch,
                offset: *offset,
                metadata: (*metadata).to_owned(),
            };
            let last = last.iter().map(|last| (CLAIMS, (commit(last), now))).collect();
            progress.following(&last, never, now).iter().map(|commit| commit.offset).collect()
        };
        progress.compare(CLAIMS, log(0, 10), now);
        assert_eq!(followed(&progress, &[]), [0; 0]);
        progress.compare(CLAIMS, log(0, 12), now);
        assert_eq!(followed(&progress, &[]), [12], "two markers");
        progress.read(CLAIMS, 12, now);
        progress.compare(CLAIMS, log(0, 14), now);
        assert_eq!(followed(&progress, &[]), [0; 0], "record 12 is not done");
        assert_eq!(followed(&progress, &[(7, 13, "")]), [14], "it is, and 13 is a marker");
        assert_eq!(followed(&progress, &[(6, 13, "")]), [0; 0], "that was another assignment");
        assert_eq!(
            followed(&progress, &[(7, 13, "map")]),
            [0; 0],
            "something beyond is done, so something is not"
        );
        progress.compare(CLAIMS, Log { position: None, ..log(0, 14) }, now);
        assert_eq!(followed(&progress, &[(7, 13, "")]), [0; 0], "what is on its way is not known");
    }

    /// The partition's next owner reported the same loss again, and the group showed a lag.
    #[test]
    fn a_commit_passes_what_retention_removed() {
        let now = Instant::now();
        let mut progress = at(Some(10), String::new());
        let followed = |progress: &Progress| -> Vec<i64> {
            let commits = progress.following(&BTreeMap::new(), Duration::MAX, now);
            commits.iter().map(|commit| commit.offset).collect()
        };
        assert_eq!(progress.compare(CLAIMS, log(50, 50), now), 40);
        assert_eq!(followed(&progress), [50]);
        assert_eq!(progress.read(CLAIMS, 50, now), None);
        progress.compare(CLAIMS, log(50, 52), now);
        assert_eq!(followed(&progress), [0; 0], "record 50 is not done");
    }

    #[test]
    fn a_partitions_start_is_committed_before_its_first_record() {
        let (now, never) = (Instant::now(), Duration::MAX);
        let begin = Commit { partition: CLAIMS, epoch: 7, offset: 0, metadata: String::new() };
        let mut progress = at(None, String::new());
        let followed = |progress: &Progress| progress.following(&BTreeMap::new(), never, now);
        assert_eq!(followed(&progress), [], "its log was not looked at yet");
        progress.compare(CLAIMS, log(0, 0), now);
        assert_eq!(followed(&progress), [begin]);
        progress.read(CLAIMS, 0, now);
        progress.compare(CLAIMS, log(0, 1), now);
        assert_eq!(followed(&progress), [], "the first is not done");
    }

    /// The broker forgets the offsets of a topic that the group does not subscribe to.
    #[test]
    fn an_old_commit_is_repeated() {
        let mut progress = Progress::default();
        let (began, hour) = (Instant::now(), Duration::from_secs(3_600));
        let (partition, map) = (Partition::retry(1), offset_map::encode(3, &[3], 5));
        let assigned =
            Assigned { partition, epoch: 7, offset: Some(3), metadata: map.clone(), log_end: 9 };
        progress.assigned(&assigned, began);
        assert_eq!(progress.following(&BTreeMap::new(), hour, began + hour / 2), []);
        let again = Commit { partition, epoch: 7, offset: 3, metadata: map };
        assert_eq!(
            progress.following(&BTreeMap::new(), hour, began + hour),
            std::slice::from_ref(&again)
        );
        let last = [(partition, (again, began + hour))].into();
        assert_eq!(progress.following(&last, hour, began + hour + hour / 2), []);
    }
}
