//! The commands to the publisher's thread, and its answers.

use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::oneshot;

use super::failure::Refused;
use crate::intake::Commit;
use crate::outbox::PublishError;
use crate::outbox::message::Parcel;

#[derive(Debug)]
pub(super) struct Command {
    /// [`crate::outbox::Recorded::number`].
    pub(super) batch: u64,
    pub(super) parcels: Vec<Parcel>,
    pub(super) commits: Vec<Commit>,
    /// Why a decision of this batch is in no parcel, if one is not.
    pub(super) decision_left_out: Option<RDKafkaErrorCode>,
    pub(super) reply: oneshot::Sender<Result<(), NotPublished>>,
}

/// Why a flush did not take place.
#[derive(Debug)]
pub(super) enum NotPublished {
    /// Topics refused messages for good.
    Refused(Refused),
    /// What the worker has to know.
    Failed(PublishError),
}
