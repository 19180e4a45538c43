//! The MMIO transport's registers, and queues in memory that has any contents.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_devices::fuzzing::registers(data));
