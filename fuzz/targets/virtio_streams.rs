//! The console, the random number device and the serial port, as hostile guests use them.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hull_devices::fuzzing::prepare_streams(),
    |data: &[u8]| hull_devices::fuzzing::streams(data)
);
