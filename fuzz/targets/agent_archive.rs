//! A tar archive that a user has put into a container: read and unpacked among links that lead out.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((first, archive)) = data.split_first() {
        hull_agent::fuzzing::extract(archive, first & 1 != 0);
    }
});
