//! State files of snapshots: as they are, and with right checksums around any body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_vmm::snapshot::format::fuzz(data));
