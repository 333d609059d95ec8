//! The reader of `captcha_query`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| claimgate_fuzz::reader("captcha_query", "", body));
