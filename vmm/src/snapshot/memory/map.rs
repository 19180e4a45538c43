//! Memory that comes from a snapshot: its file, mapped privately, so that all who start from it share what they do not write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hull_arch::layout;
use hull_devices::GuestMemory;
use hull_vm_api::config::MachineConfig;
use vm_memory::FileOffset;

use super::MemoryFileError;
use super::faults::Handler;
use super::recording::Recording;
use super::userfault::Page;
use super::working_set::WorkingSet;
use crate::memory::{MIB, MemoryError, Reserved, of_file};
use crate::snapshot::format::v1::MemoryLabel;

/// Where a restored machine's memory comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Its file, of which this is brought in ahead.
    File(Backing, Option<Arc<WorkingSet>>),
    /// Its file, page by page, so that they can be noted.
    Recorded(Recording),
    /// A process that has it.
    Process(Handler),
}

/// A snapshot's memory, which was checked.
#[derive(Debug, Clone)]
pub(crate) struct Backing {
    file: Arc<File>,
}

impl Backing {
    /// Checks that this is the memory of a state.
    ///
    /// # Errors
    /// What it is instead.
    pub(crate) fn new(file: File, label: &MemoryLabel) -> Result<Self, MemoryFileError> {
        label.check(&file)?;
        Ok(Self {
            file: Arc::new(file),
        })
    }

    /// Reads a page of the file.
    ///
    /// # Errors
    /// The host's answer; of a kind of its own if the file is shorter.
    pub(super) fn read_page(&self, page: &mut Page, offset: u64) -> io::Result<()> {
        self.file.read_exact_at(page, offset)
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// A place in the file.
    pub(crate) fn at(&self, offset: u64) -> FileOffset {
        FileOffset::from_arc(self.file.clone(), offset)
    }
}

/// Maps the RAM of a machine, where there is a place for it that suits it, and says where in the file it ends.
///
/// # Errors
/// If the file is too short for it, or the host does not map it.
pub(crate) fn map(
    machine: &MachineConfig,
    backing: &Backing,
    place: Option<Reserved>,
) -> Result<(GuestMemory, u64), MemoryError> {
    if let Some(place) = place {
        return place.map(machine, |offset| backing.at(offset));
    }
    let mut regions = Vec::new();
    let mut offset = 0;
    for (base, size) in layout::memory_regions(machine.mem_size_mib * MIB) {
        regions.push(of_file(machine, (base, size), backing.at(offset))?);
        offset += size;
    }
    let memory = GuestMemory::from_regions(regions).map_err(MemoryError::Layout)?;
    Ok((memory, offset))
}
