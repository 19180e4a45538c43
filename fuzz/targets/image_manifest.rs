//! Manifests, lists of manifests and image configurations as a registry sends them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_image::fuzzing::manifest(data));
