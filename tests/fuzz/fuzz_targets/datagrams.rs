#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lkc_fuzz::streams::check_datagrams(input));
