//! How often vCPUs came out of the guest, by kind.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A kind of exit from the guest to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The guest read an I/O port.
    IoIn,
    /// The guest wrote an I/O port.
    IoOut,
    /// The guest read where there is no memory.
    MmioRead,
    /// The guest wrote where there is no memory.
    MmioWrite,
    /// An instruction that KVM's emulator does not know was carried out here.
    Emulated,
    /// A signal interrupted the vCPU.
    Interrupted,
    /// Anything else.
    Other,
    /// Of all these: an access that no device answers.
    Unclaimed,
}

const NAMES: [(Exit, &str); 8] = [
    (Exit::IoIn, "io_in"),
    (Exit::IoOut, "io_out"),
    (Exit::MmioRead, "mmio_read"),
    (Exit::MmioWrite, "mmio_write"),
    (Exit::Emulated, "emulated"),
    (Exit::Interrupted, "interrupted"),
    (Exit::Other, "other"),
    (Exit::Unclaimed, "unclaimed"),
];

/// Counters that all vCPUs share: an exit costs microseconds, so an atomic add beside it is nothing.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    /// Counts one exit.
    pub fn count(&self, exit: Exit) {
        if let Some(cell) = self.0.get(exit as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many of a kind there were.
    #[must_use]
    pub fn of(&self, exit: Exit) -> u64 {
        let cell = self.0.get(exit as usize);
        cell.map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(NAMES.len()))?;
        for (exit, name) in NAMES {
            map.serialize_entry(name, &self.of(exit))?;
        }
        map.end()
    }
}
