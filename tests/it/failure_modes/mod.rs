//! Ways in which such workers lost or repeated data in public, each as a test that is named after
//! its row of the list.
//!
//! Here are the rows that need the real services. What is a pure machine or a schedule of events is
//! tested where it lives.
//!
//! | row | what went wrong elsewhere | test |
//! | --- | --- | --- |
//! | 4 | fence first, then drain: finished work was done again | `group::row_04` |
//! | 7 | a commit counted as done when it was sent | `commits::row_07` |
//! | 9 | the map of what is done outgrew its 4096 bytes | `group::row_09` |
//! | 10 | a zombie wrote after a pause | `group::row_10` |
//! | 11 | a delayed EndTxn met the next transaction | `commits::row_11` |
//! | 12 | the offsets of a transaction hung | `commits::row_12` |
//! | 13 | one oversize record blocked all | `messages::row_13` |
//! | 14 | dead letters that the topic did not take | `messages::row_14` |
//! | 17 | a connection held across a call exhausted the pool | `database::row_17` |
//! | 18 | a silent peer cost the pool a connection for ever | `database::row_18`, [`super::outages`] |
//! | 19 | deadlocks, serialisation, a failover | `database::row_19` |
//! | 20 | a storm of retries after an outage | `apis::row_20` |
//! | 22 | one key that always fails froze intake | `apis::row_22` |
//! | 23 | long processing against `max.poll.interval.ms` | `group::row_23` |
//! | 24 | closing the consumer hung | `group::row_24` |
//! | 25 | the vendor acted, and the request timed out | `apis::row_25` |
//! | 26 | TLS that verifies nothing | `tls::row_26` |
//! | 27 | an audit trail that could be rewritten | `database::row_27` |

mod apis;
mod commits;
mod database;
mod group;
mod messages;
mod tls;
