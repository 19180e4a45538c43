//! The index of a layer as a damaged or hostile store has it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_image::fuzzing::index(data));
