//! Copies records out of the client's memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Headers as KafkaHeaders, Message};

use crate::intake::{Headers, Partition, Record};

/// The most unreadable headers of a record that are tried. Each costs a panic and a line on the
/// standard error, and a record may have hundreds of thousands.
const UNREADABLE_MAX: usize = 16;

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

/// The headers of a message. The client's own iterator panics if the name of a header is not UTF-8.
pub(crate) fn headers(message: &BorrowedMessage<'_>) -> Headers {
    message.headers().map(copied).unwrap_or_default()
}

/// A header that cannot be read is kept with a name that says so, and so are all headers behind the
/// last that is tried.
fn copied(headers: &impl KafkaHeaders) -> Headers {
    let mut unreadable = 0;
    let read = |index| {
        if unreadable < UNREADABLE_MAX
            && let Some(header) = readable(headers, index)
        {
            return header;
        }
        unreadable += 1;
        ("claimgate-unreadable-header".to_owned(), None)
    };
    (0..headers.count()).map(read).collect()
}

/// rdkafka panics on a name that is not UTF-8.
fn readable(headers: &impl KafkaHeaders, index: usize) -> Option<(String, Option<Vec<u8>>)> {
    let read = || {
        let header = headers.get(index);
        (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
    };
    catch_unwind(AssertUnwindSafe(read)).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdkafka::message::Header;

    use super::*;

    /// Headers of which every one with an odd index cannot be read.
    struct Odd {
        tried: Cell<usize>,
    }

    impl KafkaHeaders for Odd {
        fn count(&self) -> usize {
            100_000
        }

        fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
            self.tried.set(self.tried.get() + 1);
            assert!(index.is_multiple_of(2), "as rdkafka does where the name is not UTF-8");
            Some(Header { key: "even", value: Some(&b"value"[..]) })
        }
    }

    #[test]
    fn unreadable_headers_are_marked_and_their_number_is_bounded() {
        let odd = Odd { tried: Cell::new(0) };
        let copied = copied(&odd);
        assert_eq!(copied.len(), 100_000);
        assert_eq!(copied[0], ("even".to_owned(), Some(b"value".to_vec())));
        assert_eq!(copied[1], ("claimgate-unreadable-header".to_owned(), None));
        assert_eq!(copied[2].0, "even");
        assert_eq!(copied[99_998], copied[1], "nobody looks");
        assert_eq!(odd.tried.get(), 2 * UNREADABLE_MAX);
    }
}
