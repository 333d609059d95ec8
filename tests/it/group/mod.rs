//! The consumer group: who has which partitions, how long a partition is silent while workers come
//! and go, and what becomes of claims when the log or the committed offsets change under the group.

mod denied;
mod fleet;
mod leaving;
mod logs;
mod silence;
mod spread;
mod traffic;

pub(crate) use fleet::Fleet;
use traffic::Traffic;
