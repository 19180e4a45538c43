//! What is left of a machine in figures when it has ended, as one JSON object.

use std::fs::File;
use std::io::Write;

use hull_vm_api::ExitCause;
use serde::Serialize;

use crate::counters::{Counters, Exit};
use crate::timeline::Timeline;

/// The figures.
#[derive(Debug, Serialize)]
pub(crate) struct Metrics<'a> {
    /// The machine's name.
    pub id: &'a str,
    /// How it ended.
    pub cause: ExitCause,
    /// Milliseconds from the start of the process to each stage.
    pub timeline_ms: &'a Timeline,
    /// Exits to this process, by kind.
    pub exits: &'a Counters,
}

impl Metrics<'_> {
    /// Puts the counters into the log.
    pub(crate) fn log(&self) {
        let of = |exit| self.exits.of(exit);
        tracing::info!(
            io_in = of(Exit::IoIn),
            io_out = of(Exit::IoOut),
            mmio_read = of(Exit::MmioRead),
            mmio_write = of(Exit::MmioWrite),
            interrupted = of(Exit::Interrupted),
            other = of(Exit::Other),
            unclaimed = of(Exit::Unclaimed),
            "exits"
        );
    }

    /// Writes them as one line.
    ///
    /// # Errors
    /// What the host answered.
    pub(crate) fn write(&self, mut file: File) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        file.write_all(&line)
    }
}
