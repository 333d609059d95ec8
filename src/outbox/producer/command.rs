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
    /// Why the topic of decisions takes none of this batch, if it has refused them all.
    pub(super) decisions_refused: Option<RDKafkaErrorCode>,
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
