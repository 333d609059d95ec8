//! Integration tests: the real Apache Kafka, the real PostgreSQL, the real binary. `scripts/with-services.sh` starts what they need.

#![expect(clippy::panic, clippy::cast_possible_truncation, reason = "tests may panic, and count little")]

mod chaos;
mod exactly_once;
mod hostile;
mod lab;
mod oracle;
mod outages;
mod parking;
mod refusals;
mod risk_apis;
mod schemas;
mod service;
mod store;
mod watching;
