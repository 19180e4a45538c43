//! What a layer's tar stream has beside contents, as the store keeps it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_image::fuzzing::headers(data));
