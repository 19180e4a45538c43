//! A network interface with its metadata service, as hostile guests and networks use it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_devices::fuzzing::net(data));
