//! What every cluster promises (design 3 and 5).

use std::time::Duration;

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::intake::{Input, Partition};
use claimgate::outbox::RecordOutcome;
use claimgate::outbox::message::Topic;

use super::{Cluster, Member};

fn texts(payloads: Vec<Vec<u8>>) -> Vec<String> {
    let mut texts: Vec<String> =
        payloads.into_iter().map(|payload| String::from_utf8(payload).expect("text")).collect();
    texts.sort();
    texts
}

pub(crate) async fn a_batch_is_visible_whole_and_its_offsets_with_it(cluster: impl Cluster) {
    for payload in ["a", "b", "c"] {
        cluster.produce(0, payload);
    }
    let mut member = Member::join(&cluster, "w1").await;
    member.take(3).await;
    assert_eq!(texts(cluster.visible(Topic::DeadLetters)), [""; 0]);
    member.dead_letter(|_| true).await.expect("published");
    assert_eq!(texts(cluster.visible(Topic::DeadLetters)), ["a", "b", "c"]);
    member.leave().await;
    cluster.produce(0, "d");
    let mut member = Member::join(&cluster, "w1").await;
    member.take(1).await;
    assert_eq!(
        member.taken[0].1.payload.as_deref(),
        Some(&b"d"[..]),
        "what was committed is not read again"
    );
    assert!(member.done_before.is_empty());
    member.leave().await;
}

pub(crate) async fn what_is_done_beyond_the_watermark_comes_back_with_the_partition(
    cluster: impl Cluster,
) {
    for payload in ["a", "b", "c", "d"] {
        cluster.produce(0, payload);
    }
    let mut member = Member::join(&cluster, "w1").await;
    member.take(4).await;
    member.dead_letter(|record| [0, 2].contains(&record.offset)).await.expect("published");
    member.leave().await;
    let mut member = Member::join(&cluster, "w1").await;
    member.take(2).await;
    let open: Vec<i64> = member.taken.iter().map(|(_, record)| record.offset).collect();
    let done: Vec<i64> = member.done_before.iter().map(|record| record.offset).collect();
    assert_eq!((open, done), (vec![1, 3], vec![2]));
    member.dead_letter(|_| true).await.expect("published");
    assert_eq!(texts(cluster.visible(Topic::DeadLetters)), ["a", "b", "c", "d"]);
    member.leave().await;
}

pub(crate) async fn a_deferred_claim_comes_back_through_the_retry_topic(cluster: impl Cluster) {
    cluster.produce(1, "later");
    let mut member = Member::join(&cluster, "w1").await;
    member.take(1).await;
    member.defer(|_| true).await.expect("published");
    member.take(1).await;
    let (_, record) = &member.taken[0];
    assert_eq!(
        (record.partition.input, record.payload.as_deref()),
        (Input::Retry, Some(&b"later"[..]))
    );
    assert!(record.headers.iter().any(|(name, _)| name == "claimgate-deferred"));
    member.leave().await;
}

pub(crate) async fn whoever_takes_over_a_name_fences_the_one_who_had_it(cluster: impl Cluster) {
    cluster.produce(0, "a");
    let mut first = Member::join(&cluster, "w1").await;
    first.take(1).await;
    let mut second = Member::join(&cluster, "w1").await;
    second.take(1).await;
    first.dead_letter(|_| true).await.expect_err("it is not the member any more");
    assert_eq!(texts(cluster.visible(Topic::DeadLetters)), [""; 0]);
    second.dead_letter(|_| true).await.expect("published");
    assert_eq!(texts(cluster.visible(Topic::DeadLetters)), ["a"]);
    second.leave().await;
}

pub(crate) async fn a_partition_is_given_back_only_when_it_was_let_go(cluster: impl Cluster) {
    cluster.produce(0, "a");
    cluster.produce(1, "b");
    let mut first = Member::join(&cluster, "w1").await;
    first.take(2).await;
    let mut second = Member::join(&cluster, "w2").await;
    let (revoked, done) = loop {
        if let (partitions, Some(done)) =
            first.next(Duration::from_secs(30)).await.expect("a rebalance")
        {
            break (partitions, done);
        }
    };
    while second.next(Duration::from_millis(1_500)).await.is_some() {}
    let early: Vec<Partition> =
        second.ledger.partitions().filter(|partition| revoked.contains(partition)).collect();
    assert_eq!(early, [], "nobody has what was not let go");
    first.dead_letter(|_| true).await.expect("what is in flight is published meanwhile");
    drop(done);
    second.hold(1).await;
    while second.next(Duration::from_millis(1_500)).await.is_some() {}
    assert!(second.taken.is_empty(), "what was published before is not read again");
    assert_eq!(texts(cluster.visible(Topic::DeadLetters)), ["a", "b"]);
    second.leave().await;
    first.leave().await;
}

pub(crate) async fn nothing_is_committed_for_an_assignment_that_has_ended(cluster: impl Cluster) {
    cluster.produce(0, "a");
    let mut member = Member::join(&cluster, "w1").await;
    member.take(1).await;
    let end =
        |_: &_| RecordOutcome::DeadLettered(DeadLetterReason::event(EventError::NotJson, "a test"));
    let stale = member.publish(
        |_| true,
        end,
        |commits| commits.iter_mut().for_each(|commit| commit.epoch += 1),
    );
    stale.await.expect_err("the assignment is another");
    assert_eq!(texts(cluster.visible(Topic::DeadLetters)), [""; 0]);
    member.leave().await;
    let mut member = Member::join(&cluster, "w1").await;
    member.take(1).await;
    member.leave().await;
}
