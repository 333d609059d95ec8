//! Ways in which such workers lost or repeated data in public, each as a test that is named after
//! what claimgate does instead. The whole list is in `docs/reliability.md`.
//!
//! Here are the cases that need the real services. What is a pure machine or a schedule of events
//! is tested where it lives.
//!
//! | what went wrong elsewhere | tests |
//! | --- | --- |
//! | fence first, then drain: finished work was done again | `group` |
//! | a commit counted as done when it was sent | `commits` |
//! | the map of what is done outgrew its 4096 bytes | `group` |
//! | a zombie wrote after a pause | `group` |
//! | a delayed EndTxn met the next transaction | `commits` |
//! | the offsets of a transaction hung | `commits` |
//! | one oversize record blocked all | `messages` |
//! | dead letters that the topic did not take | `messages` |
//! | a connection held across a call exhausted the pool | `database` |
//! | a silent peer cost the pool a connection for ever | `database`, [`super::outages`] |
//! | deadlocks, serialisation, a failover | `database` |
//! | a storm of retries after an outage | `apis` |
//! | one key that always fails froze intake | `apis` |
//! | long processing against `max.poll.interval.ms` | `group` |
//! | closing the consumer hung | `group` |
//! | the vendor acted, and the request timed out | `apis` |
//! | TLS that verifies nothing | `tls` |
//! | an audit trail that could be rewritten | `database` |

mod apis;
mod commits;
mod database;
mod group;
mod messages;
mod tls;
