//! Dockerfiles and `.dockerignore`: read, planned, and asked what each step means.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_image::fuzzing::dockerfile(data));
