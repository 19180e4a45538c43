//! Persistent memory, the balloon and memory that can be plugged, as hostile guests use them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_devices::fuzzing::memory(data));
