//! The reader of `intelligent_qr_code`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| claimgate_fuzz::reader("intelligent_qr_code", "", body));
