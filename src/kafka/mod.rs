//! `[kafka]`: what intake and outbox share about the broker. Each of them has its own client.

mod brokers;
pub mod check;
mod clients;
mod create;
mod names;
mod needs;
mod places;
mod plan;
mod reading;
mod reports;
mod settings;
mod topics;
mod words;

pub use places::{Input, Partition, Topic, is_topic_name};
pub use plan::Wish;
pub(crate) use reading::{Reading, read_to_end, wait_for_open_transactions};
pub(crate) use reports::{check_place, is_outage, metadata};
pub use settings::{Guarantee, Settings};
pub(crate) use words::{Quiet, client_error};
