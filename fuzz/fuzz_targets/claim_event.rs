//! The reader of claim events.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| claimgate_fuzz::claim_event(body));
