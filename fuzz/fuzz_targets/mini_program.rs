//! The reader of `mini_program`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| claimgate_fuzz::reader("mini_program", "", body));
