//! Disks, as hostile guests use them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_devices::fuzzing::block(data));
