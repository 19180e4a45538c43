//! A shared directory, as hostile guests and programs on the host use it.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hull_devices::fuzzing::prepare_fs(),
    |data: &[u8]| hull_devices::fuzzing::fs(data)
);
