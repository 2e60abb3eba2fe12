#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| doorward_fuzz::client_assertion::check(input));
