//! The consumer group: who has which partitions, how long a partition is silent while workers come and go, and what becomes of claims
//! when the log or the committed offsets change under the group.

mod fleet;
mod spread;

pub(crate) use fleet::Fleet;
