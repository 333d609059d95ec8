//! The store: one contract suite for PostgreSQL and for the fake.
//!
//! Tests that need PostgreSQL use `CLAIMGATE_TEST_POSTGRES_URL` and are skipped, with a note, if
//! that is not set.

mod answers;
mod audit;
pub(crate) mod build;
mod conflicts;
mod contract;
mod counts;
mod database;
mod derived;
mod dictionary;
mod encrypted;
mod erasing;
mod faults;
mod masked;
mod periods;
mod policies;
mod pooler;
mod postgres;
mod questions;
mod retention;
pub(crate) mod roles;
pub(crate) mod schema;
mod sealed;
mod search;
mod session;
mod shadow;
mod story;
mod subject_keys;

use std::collections::BTreeMap;
use std::future::Future;

use claimgate::decision::ShadowRuling;
use claimgate::outbox::{Call, Received, Store};
use claimgate::testing::{DeadLetter, FakeStore};
pub(crate) use database::{RealStore, TestDatabase, with_database, with_empty_database};

/// A store whose content the suite can look at.
pub(crate) trait Inspect: Store + Clone + 'static {
    /// Every attempt, in the order of its id.
    fn all_calls(&self) -> impl Future<Output = Vec<Call>> + Send;
    /// The events behind verdicts.
    fn all_events(&self) -> impl Future<Output = Vec<Received>> + Send;
    /// Every dead letter, in the order of its source.
    fn all_dead_letters(&self) -> impl Future<Output = Vec<DeadLetter>> + Send;
    /// What the policy in shadow would have decided otherwise, by claim id.
    fn all_shadows(&self) -> impl Future<Output = BTreeMap<String, ShadowRuling>> + Send;
}

impl Inspect for FakeStore {
    async fn all_calls(&self) -> Vec<Call> {
        self.calls()
    }
    async fn all_events(&self) -> Vec<Received> {
        self.events()
    }
    async fn all_dead_letters(&self) -> Vec<DeadLetter> {
        self.dead_letters()
    }
    async fn all_shadows(&self) -> BTreeMap<String, ShadowRuling> {
        self.shadows()
    }
}

/// Makes two tests of each case: one over the fake, one over PostgreSQL.
macro_rules! over_every_store {
    ($($case:ident)*) => {
        mod fake {
            $(
                #[tokio::test]
                async fn $case() {
                    super::contract::$case(super::FakeStore::default()).await;
                }
            )*
        }
        mod real {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::with_database(async |database| super::contract::$case(database.store().await).await).await;
                }
            )*
        }
    };
}

over_every_store! {
    a_batch_has_a_seal_and_its_verdicts_keep_it
    a_verdict_comes_back_with_every_field
    a_verdict_without_optional_fields_comes_back
    an_unknown_claim_is_not_recalled
    the_first_verdict_wins
    the_first_record_of_a_batch_wins
    the_same_record_again_is_recalled
    recording_a_batch_again_changes_nothing
    attempts_are_kept_without_a_verdict
    bytes_are_kept_exactly
    any_unicode_is_kept
    a_nul_character_wedges_nothing
    dead_letters_are_kept_once
    another_claim_at_the_offset_of_a_decided_one_is_a_conflict
    another_event_at_a_used_offset_is_a_dead_letter_of_its_own
    an_empty_batch_is_recorded
    a_batch_larger_than_a_statement_is_recorded_whole
    two_workers_with_the_same_claims_agree
    what_a_policy_in_shadow_rules_is_kept_with_the_verdict_that_won
}
