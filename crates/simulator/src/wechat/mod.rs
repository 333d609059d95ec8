//! WeChat: the service market's two risk services, and the access tokens that they are called with.
//!
//! Errors of the platform are `errcode`, errors of the risk service are the `code` of the inner
//! JSON; codes from 1 to 99 are the latter's.

mod answer;
mod market;
mod token;
mod token_endpoints;

pub(super) use market::exchange;
pub(super) use token::Tokens;
pub(super) use token_endpoints::{classic, stable};
