//! Records, copied out of the client's memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message};

use crate::intake::{Headers, Partition, Record};

pub(super) fn record(message: &BorrowedMessage<'_>, partition: Partition, epoch: u32) -> Record {
    Record {
        partition,
        offset: message.offset(),
        epoch,
        key: message.key().map(<[u8]>::to_vec),
        headers: headers(message),
        payload: message.payload().map(<[u8]>::to_vec),
        written_at: message.timestamp().to_millis().unwrap_or_default(),
    }
}

/// A message's headers. To read them by the client's own iterator panics where a producer chose a
/// name that is not UTF-8.
pub(crate) fn headers(message: &BorrowedMessage<'_>) -> Headers {
    message.headers().map(copied).unwrap_or_default()
}

fn copied(headers: &BorrowedHeaders) -> Headers {
    let read = |index| {
        // rdkafka panics on a name that is not UTF-8; such a header is kept as a name that says so.
        catch_unwind(AssertUnwindSafe(|| {
            let header = headers.get(index);
            (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
        }))
        .unwrap_or_else(|_| ("claimgate-unreadable-header".to_owned(), None))
    };
    (0..headers.count()).map(read).collect()
}
