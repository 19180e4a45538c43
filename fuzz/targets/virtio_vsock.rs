//! Sockets, as hostile guests and clients on the host use them.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hull_devices::fuzzing::prepare_streams(),
    |data: &[u8]| hull_devices::fuzzing::vsock(data)
);
