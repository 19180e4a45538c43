//! Working sets of snapshots: as they are, and with right checksums behind them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hull_vmm::snapshot::memory::working_set::fuzz(data));
