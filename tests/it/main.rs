//! Integration tests: the real Apache Kafka, the real PostgreSQL, the real binary.
//! `scripts/with-services.sh` starts what they need.

#![expect(
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests may panic, and count little"
)]

mod certificate;
mod chaos;
mod clients;
mod cluster;
mod collector;
mod dead_letters;
mod deferral;
mod exactly_once;
mod exporting;
mod failure_modes;
mod fairness;
mod group;
mod health;
mod hostile;
mod http2;
mod lab;
mod oracle;
mod orphans;
mod outages;
mod overrides;
mod proxy;
mod publishing;
mod refusals;
mod risk_apis;
mod schemas;
mod service;
mod setup;
mod shadow;
mod status;
mod status_page;
mod store;
mod tail;
mod topic;
mod tracing;
mod watching;
mod witness;
