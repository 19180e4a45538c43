//! From a kernel file to a machine that can start: loading, the initramfs, and what the kernel is told.
//!
//! Three kinds of file boot: a Linux `vmlinux` by the 64-bit Linux boot protocol, another ELF kernel by PVH where it
//! has the note and else by the Linux protocol, and a `bzImage` at its 64-bit entry. All outside bytes are checked here, since a
//! user may name any file: sizes and addresses before they are used, everything against the guest's RAM.

mod bzimage;
mod configure;
mod elf;
mod notes;

use std::io::{Read, Seek, SeekFrom};

use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryError, ReadVolatile};

use crate::layout::{self, Gpa, PAGE_SIZE};

pub use configure::{Machine, configure};

/// How the kernel is entered, and in what form it is told of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Linux `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol".
    Linux64,
    /// Xen `docs/misc/pvh.pandoc`: 32-bit entry named by an ELF note.
    Pvh,
}

/// Where the boot vCPU starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub address: Gpa,
    pub protocol: Protocol,
}

/// A kernel in guest memory.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub entry: Entry,
    /// The first address behind it, its zeroed data included.
    pub end: Gpa,
    /// A `bzImage`'s setup header, which goes into `boot_params` as it is.
    setup: Option<linux_loader::bootparam::setup_header>,
}

/// An initramfs in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initrd {
    pub address: Gpa,
    pub size: u64,
}

/// Why a machine cannot be made ready to boot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the kernel file cannot be read")]
    Read(#[source] std::io::Error),
    #[error(
        "the kernel file is no kernel: it is neither an ELF file nor a bzImage; name a vmlinux or a bzImage"
    )]
    NotAKernel,
    #[error(
        "the kernel file is an ELF file, but {0}; Hull boots 64-bit little-endian x86-64 kernels"
    )]
    Elf(&'static str),
    #[error("the kernel file is damaged: {0}")]
    Damaged(&'static str),
    #[error("the kernel file is a bzImage that Hull cannot boot: {0}")]
    BzImage(&'static str),
    #[error(
        "the kernel does not fit: it takes memory up to {needed} MiB and the machine has {available} MiB below its \
         MMIO hole; give the machine more memory"
    )]
    KernelTooLarge { needed: u64, available: u64 },
    #[error(
        "the kernel wants to be at {address:#x}, below 1 MiB, where the machine's own tables are"
    )]
    KernelTooLow { address: u64 },
    #[error("the kernel cannot be loaded: {0}")]
    Load(String),
    #[error("the initramfs cannot be read")]
    ReadInitrd(#[source] std::io::Error),
    #[error("the initramfs is empty")]
    EmptyInitrd,
    #[error(
        "the initramfs of {size} bytes does not fit between the kernel's end and {limit:#x}; give the machine more \
         memory or use a smaller one"
    )]
    InitrdTooLarge { size: u64, limit: u64 },
    #[error(
        "the kernel's command line has {length} bytes and at most {limit} fit; shorten boot_args"
    )]
    CommandLineTooLong { length: usize, limit: usize },
    #[error("the kernel's command line contains a zero byte or a line break")]
    CommandLineInvalid,
    #[error("guest memory cannot be written")]
    Memory(#[from] GuestMemoryError),
}

/// Loads a kernel file into the memory of a machine that has `memory_size` bytes.
///
/// # Errors
/// When the file is no kernel that can be booted in this memory.
pub fn load_kernel<M, F>(memory: &M, memory_size: u64, file: &mut F) -> Result<Kernel, Error>
where
    M: GuestMemoryBackend,
    F: Read + ReadVolatile + Seek,
{
    let size = file.seek(SeekFrom::End(0)).map_err(Error::Read)?;
    let mut start = [0; 0x264];
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(start.len());
    file.rewind().map_err(Error::Read)?;
    file.read_exact(&mut start[..length]).map_err(Error::Read)?;

    let available = layout::low_memory_end(memory_size);
    if start.starts_with(b"\x7fELF") {
        elf::load(memory, available, file, size)
    } else if start[0x202..0x206] == *b"HdrS" {
        bzimage::load(memory, available, file, size)
    } else {
        Err(Error::NotAKernel)
    }
}

/// Loads an initramfs as high as the kernel may find it, away from where the kernel unpacks and allocates.
///
/// # Errors
/// When it cannot be read or does not fit.
pub fn load_initrd<M, F>(
    memory: &M,
    memory_size: u64,
    kernel: &Kernel,
    file: &mut F,
) -> Result<Initrd, Error>
where
    M: GuestMemoryBackend,
    F: ReadVolatile + Seek,
{
    let size = file.seek(SeekFrom::End(0)).map_err(Error::ReadInitrd)?;
    file.rewind().map_err(Error::ReadInitrd)?;
    if size == 0 {
        return Err(Error::EmptyInitrd);
    }
    // Below the hole, and where the kernel says that it can reach it (`initrd_addr_max`).
    let highest = kernel
        .setup
        .map_or(u64::MAX, |setup| u64::from(setup.initrd_addr_max) + 1);
    let limit = layout::low_memory_end(memory_size).min(highest);
    let address = limit
        .checked_sub(size)
        .map(|address| address & !(PAGE_SIZE - 1))
        .filter(|address| *address >= kernel.end.0)
        .ok_or(Error::InitrdTooLarge { size, limit })?;
    let length = usize::try_from(size).map_err(|_| Error::InitrdTooLarge { size, limit })?;
    let address = vm_memory::GuestAddress(address);
    memory.read_exact_volatile_from(address, file, length)?;
    Ok(Initrd { address, size })
}

/// That a kernel's range `[base, end)` lies above the machine's tables and inside its RAM.
fn check_range(base: u64, end: u64, available: u64) -> Result<(), Error> {
    if base < layout::HIGH_RAM.0 {
        return Err(Error::KernelTooLow { address: base });
    }
    if end > available {
        let mib = |bytes: u64| bytes.div_ceil(layout::MIB);
        return Err(Error::KernelTooLarge {
            needed: mib(end),
            available: available / layout::MIB,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
