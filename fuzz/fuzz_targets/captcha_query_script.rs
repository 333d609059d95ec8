//! The reader of `captcha_query` where the body is the script.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| claimgate_fuzz::reader("captcha_query", "script = 1\ncallback = 'failed'", body));
