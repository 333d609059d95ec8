use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::intake::Input;
use crate::intake::offset_map::METADATA_MAX_BYTES;

const PARTITION: Partition = Partition { input: Input::Claims, number: 3 };

/// How many records were taken on and are not done.
fn open(ledger: &Ledger) -> usize {
    ledger.partitions.values().map(|state| state.open.len()).sum()
}

/// One step of a worker with one partition.
#[derive(Debug, Clone)]
enum Step {
    /// Read up to this many records.
    Poll(usize),
    /// Finish one of the records that were taken on.
    Finish(prop::sample::Index),
    /// The batch's transaction commits.
    FlushOk,
    /// The batch's transaction aborts; the batch stays.
    FlushAbort,
    /// The transaction commits and the worker dies before it hears of it.
    FlushOkThenCrash,
    /// The worker dies.
    Crash,
    /// The partition is revoked and assigned again; the records that were taken on belong to the
    /// old assignment.
    Rebalance,
    /// The log is compacted: a record that was not read yet is gone.
    Compact(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40_usize).prop_map(Step::Poll),
        20 => any::<prop::sample::Index>().prop_map(Step::Finish),
        4 => Just(Step::FlushOk),
        2 => Just(Step::FlushAbort),
        1 => Just(Step::FlushOkThenCrash),
        1 => Just(Step::Crash),
        1 => Just(Step::Rebalance),
        1 => any::<prop::sample::Index>().prop_map(Step::Compact),
    ]
}

/// A minimal Kafka and worker around the ledger.
struct World {
    log: BTreeSet<i64>,
    committed: Option<(i64, String)>,
    published: BTreeMap<i64, usize>,
    ledger: Ledger,
    epoch: u32,
    next_read: i64,
    at_hand: Vec<Ticket>,
    batch: Vec<Ticket>,
    /// The bound on a commit's metadata.
    metadata_max: usize,
}

impl World {
    fn new(log: BTreeSet<i64>) -> Self {
        Self::bounded(log, METADATA_MAX_BYTES)
    }

    fn bounded(log: BTreeSet<i64>, metadata_max: usize) -> Self {
        let mut world = Self {
            metadata_max,
            log,
            committed: None,
            published: BTreeMap::new(),
            ledger: Ledger::with_metadata_max(metadata_max),
            epoch: 0,
            next_read: 0,
            at_hand: Vec::new(),
            batch: Vec::new(),
        };
        world.assign();
        world
    }

    fn assign(&mut self) {
        self.epoch += 1;
        let (offset, metadata) = self
            .committed
            .clone()
            .map_or((None, String::new()), |(offset, metadata)| (Some(offset), metadata));
        let log_end = self.log.last().map_or(0, |last| last + 1);
        let assigned =
            Assigned { partition: PARTITION, epoch: self.epoch, offset, metadata, log_end };
        assert_eq!(self.ledger.assign(&assigned), None, "our own metadata is believed");
        self.next_read = offset.unwrap_or(0);
    }

    fn crash(&mut self) {
        self.ledger = Ledger::with_metadata_max(self.metadata_max);
        self.at_hand.clear();
        self.batch.clear();
        self.assign();
    }

    /// Reads up to this many records, as far as there is room for them.
    fn poll(&mut self, count: usize) {
        let read: Vec<i64> = self.log.range(self.next_read..).take(count).copied().collect();
        for offset in read {
            if !self.ledger.has_room_for(PARTITION, offset) {
                return;
            }
            self.next_read = offset + 1;
            match self.ledger.admit(PARTITION, offset, self.epoch) {
                Admission::Ticket(ticket) => {
                    assert!(
                        !self.published.contains_key(&offset),
                        "{offset} was published and is worked on again"
                    );
                    self.at_hand.push(ticket);
                }
                Admission::AlreadyDone => {
                    assert!(
                        self.published.contains_key(&offset),
                        "{offset} is skipped and was not published"
                    )
                }
                Admission::Stale => unreachable!("records are stamped with the present epoch"),
            }
        }
    }

    fn commit(&mut self) {
        let batch = &self.batch;
        let live: Vec<i64> =
            batch.iter().filter(|ticket| self.ledger.is_live(ticket)).map(Ticket::offset).collect();
        for commit in self.ledger.plan(batch.iter()) {
            assert!(commit.metadata.len() <= self.metadata_max, "{} bytes", commit.metadata.len());
            let published =
                |offset: &i64| self.published.contains_key(offset) || live.contains(offset);
            let passed = self.log.range(..commit.offset).find(|offset| !published(offset));
            assert_eq!(
                passed, None,
                "the watermark {} passed an unpublished record",
                commit.offset
            );
            self.committed = Some((commit.offset, commit.metadata));
        }
        for offset in live {
            *self.published.entry(offset).or_default() += 1;
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Poll(count) => self.poll(count),
            Step::Finish(_) if self.at_hand.is_empty() => {}
            Step::Finish(index) => {
                let ticket = self.at_hand.swap_remove(index.index(self.at_hand.len()));
                self.batch.push(ticket);
            }
            Step::FlushOk => {
                self.commit();
                self.ledger.confirm(std::mem::take(&mut self.batch));
            }
            Step::FlushAbort => drop(self.ledger.plan(self.batch.iter())),
            Step::FlushOkThenCrash => {
                self.commit();
                self.crash();
            }
            Step::Crash => self.crash(),
            Step::Rebalance => {
                self.ledger.revoke(PARTITION);
                self.assign();
            }
            Step::Compact(index) => {
                let unread: Vec<i64> = self.log.range(self.next_read..).copied().collect();
                // The last record stays: the end of a log does not go back.
                if unread.len() > 1 {
                    self.log.remove(&unread[index.index(unread.len() - 1)]);
                }
            }
        }
    }

    /// Finishes all records that were taken on, and those that are read then, until the end of the
    /// log. Fails if that never ends.
    fn finish_everything(&mut self) {
        loop {
            self.poll(usize::MAX);
            self.batch.append(&mut self.at_hand);
            if self.batch.is_empty() {
                break;
            }
            self.step(Step::FlushOk);
        }
        let unread: Vec<&i64> = self.log.range(self.next_read..).collect();
        assert!(unread.is_empty(), "nothing is at hand, and {unread:?} are never read");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_published_once_whatever_happens(
        log in prop::collection::btree_set(0..600_i64, 1..120),
        steps in prop::collection::vec(step(), 1..120),
        metadata_max in prop_oneof![Just(METADATA_MAX_BYTES), 28..64_usize],
    ) {
        let mut world = World::bounded(log, metadata_max);
        for step in steps {
            world.step(step);
        }
        world.finish_everything();
        for offset in &world.log {
            prop_assert_eq!(world.published.get(offset), Some(&1), "record {}", offset);
        }
        // The commit leaves nothing open except records that compaction removed: the ledger finds
        // that out with the next record.
        prop_assert_eq!(open(&world.ledger), 0);
        let (offset, metadata) = world.committed.clone().expect("something was committed");
        let end = world.log.last().map_or(0, |last| last + 1);
        let open = OffsetMap::decode(offset, &metadata, end).expect("our own map").into_open();
        prop_assert!(offset == end || !metadata.is_empty());
        prop_assert_eq!(open.intersection(&world.log).next(), None);
    }
}

#[test]
fn a_stuck_record_holds_the_watermark_and_not_the_others() {
    let mut world = World::new((0..1_000).collect());
    world.poll(1_000);
    world.batch = world.at_hand.split_off(1);
    world.commit();
    let (offset, metadata) = world.committed.clone().expect("committed");
    assert_eq!(offset, 0);
    assert!(!metadata.is_empty());
    world.crash();
    world.poll(1_000);
    assert_eq!(
        world.at_hand.iter().map(Ticket::offset).collect::<Vec<_>>(),
        [0],
        "only the stuck one is worked on again"
    );
}

#[test]
fn a_ticket_of_an_ended_assignment_changes_nothing() {
    let mut world = World::new((0..3).collect());
    world.poll(3);
    world.step(Step::Rebalance);
    world.batch = std::mem::take(&mut world.at_hand);
    assert_eq!(world.ledger.plan(world.batch.iter()), []);
    assert_eq!(world.ledger.admit(PARTITION, 0, world.epoch - 1), Admission::Stale);
}

#[test]
fn garbled_metadata_reads_as_nothing_done_loudly() {
    let mut ledger = Ledger::default();
    let assigned = Assigned {
        partition: PARTITION,
        epoch: 1,
        offset: Some(5),
        metadata: "cg1:!!".to_owned(),
        log_end: 9,
    };
    assert!(ledger.assign(&assigned).is_some());
    assert!(matches!(ledger.admit(PARTITION, 5, 1), Admission::Ticket(_)));
}

#[test]
fn a_log_that_went_back_is_read_again() {
    let mut ledger = Ledger::default();
    ledger.assign(&Assigned {
        partition: PARTITION,
        epoch: 1,
        offset: Some(50),
        metadata: String::new(),
        log_end: 50,
    });
    assert!(
        matches!(ledger.admit(PARTITION, 0, 1), Admission::Ticket(_)),
        "the topic was made anew: offset 0 is a new record"
    );
}

#[test]
fn a_partition_without_room_says_so() {
    let mut world = World::new((0..30_000).collect());
    world.poll(30_000);
    assert_eq!(world.at_hand.len(), 24_432, "more open records than any map can hold");
    assert!(
        world.ledger.has_room_for(Partition::retry(3), 30_000),
        "somebody else's is not held up"
    );
}

/// Every `nth` record waits, the others are done: as with an API that is throttled.
fn with_every_nth_waiting(nth: i64, log_end: i64) -> World {
    let mut world = World::new((0..log_end).collect());
    while world.next_read < log_end && world.ledger.has_room_for(PARTITION, world.next_read) {
        world.poll(500);
        let (waiting, done) = std::mem::take(&mut world.at_hand)
            .into_iter()
            .partition(|ticket| ticket.offset() % nth == 0);
        (world.at_hand, world.batch) = (waiting, done);
        world.step(Step::FlushOk);
    }
    world
}

#[test]
fn a_partition_at_its_map_limit_continues_after_a_restart() {
    for nth in [20, 30, 50] {
        let mut world = with_every_nth_waiting(nth, 100_000);
        let open = open(&world.ledger);
        world.crash();
        world.poll(usize::MAX);
        assert!(world.at_hand.len() >= open, "1 of {nth} waits: {} of {open}", world.at_hand.len());
        world.finish_everything();
    }
}

#[test]
fn open_offsets_without_records_do_not_block_the_watermark() {
    let mut world = with_every_nth_waiting(20, 100_000);
    let read = world.next_read;
    world.crash();
    world.log.retain(|offset| *offset >= read);
    world.finish_everything();
    assert_eq!(open(&world.ledger), 0);
}

#[test]
fn a_gap_at_the_map_limit_never_makes_the_metadata_too_long() {
    for gap in [57, 1_000, 100_000] {
        // One offset more, and no map of these would be certain to fit.
        let mut world = with_every_nth_waiting(10, 24_431);
        world.log.insert(24_431 + gap);
        world.poll(1);
        world.batch.extend(world.at_hand.pop());
        // `commit` looks at the metadata's length.
        world.step(Step::FlushOk);
        world.finish_everything();
    }
}

#[test]
fn a_ticket_from_before_a_log_reset_finishes_no_record() {
    let mut ledger = Ledger::default();
    let assigned = Assigned {
        partition: PARTITION,
        epoch: 1,
        offset: Some(0),
        metadata: String::new(),
        log_end: 9,
    };
    ledger.assign(&assigned);
    let mut admit = |offset| match ledger.admit(PARTITION, offset, 1) {
        Admission::Ticket(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    let (before, _) = (admit(0), admit(1));
    let after = admit(0);
    assert!(!ledger.is_live(&before) && ledger.is_live(&after));
    ledger.confirm([before]);
    assert_eq!(open(&ledger), 1, "the new record is open still");
}

#[test]
fn lag_is_what_is_not_done_beyond_the_committed_offset_too() {
    let metadata = offset_map::encode(10, &[10, 14], 20);
    let mut ledger = Ledger::default();
    let (partition, offset) = (PARTITION, Some(10));
    ledger.assign(&Assigned { partition, epoch: 1, offset, metadata, log_end: 30 });
    let log = |end, read| LogReach { partition, start: 0, end, read };
    assert_eq!(ledger.lag(&log(20, None), true), 2, "10 and 14, of twenty offsets");
    assert_eq!(ledger.lag(&log(25, None), true), 7);
    assert_eq!(ledger.lag(&log(25, Some(25)), true), 2, "20 to 24 hold no record");
    assert_eq!(ledger.lag(&log(25, Some(25)), false), 7, "unless they wait to be taken on");
    let Admission::Ticket(tenth) = ledger.admit(PARTITION, 10, 1) else { panic!("it is open") };
    assert_eq!(ledger.lag(&log(20, None), true), 2, "read, and not done");
    ledger.confirm([tenth]);
    assert_eq!(ledger.lag(&log(20, None), true), 1);
    ledger.revoke(PARTITION);
    assert_eq!(ledger.lag(&log(20, None), true), 0);
}

#[test]
fn the_lag_of_an_uncommitted_log_counts_from_its_start() {
    let mut ledger = Ledger::default();
    let (partition, metadata) = (PARTITION, String::new());
    ledger.assign(&Assigned { partition, epoch: 1, offset: None, metadata, log_end: 30 });
    let log = LogReach { partition, start: 500, end: 530, read: None };
    assert_eq!(ledger.lag(&log, true), 30);
}
