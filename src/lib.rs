//! claimgate stands between reward claims and the money they pay out.
pub mod assess;
pub mod audit;
pub mod claim;
pub mod cli;
pub mod config;
pub mod decision;
pub mod intake;
pub mod kafka;
pub mod outbox;
pub mod risk;
pub mod service;
pub mod simulator;
pub mod telemetry;
pub mod trace;
pub mod worker;
