//! The reader of `wechat_marketing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| claimgate_fuzz::reader("wechat_marketing", "", body));
