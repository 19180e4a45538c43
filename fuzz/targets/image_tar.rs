//! A layer's tar archive: imported, verified, merged and written as EROFS.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_image::fuzzing::tar(data));
