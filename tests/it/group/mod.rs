//! The consumer group: which worker has which partitions, how long a partition has no decisions
//! while workers come and go, and what happens to claims when the log or the committed offsets
//! change.

mod denied;
mod fleet;
mod leaving;
mod logs;
mod silence;
mod spread;
mod traffic;

pub(crate) use fleet::Fleet;
use traffic::Traffic;
