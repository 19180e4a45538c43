//! ELF kernels (System V ABI, AMD64 supplement; Linux `vmlinux`).

use std::io::{Read, Seek, SeekFrom};

use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::Elf;
use vm_memory::{GuestAddress, GuestMemoryBackend, ReadVolatile};

use super::notes::Notes;
use super::{Entry, Error, Kernel, Protocol, check_range};
use crate::layout::HIGH_RAM;

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: usize = 56;
/// More than any kernel has; bounds what a hostile file makes us read.
const MAX_PROGRAM_HEADERS: u16 = 64;
pub(super) const MAX_NOTES: u64 = 64 << 10;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const MACHINE_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

pub(super) fn load<M, F>(
    memory: &M,
    available: u64,
    file: &mut F,
    size: u64,
) -> Result<Kernel, Error>
where
    M: GuestMemoryBackend,
    F: Read + ReadVolatile + Seek,
{
    let found = check(file, size, available)?;
    let loaded =
        Elf::load(memory, None, file, None).map_err(|error| Error::Load(error.to_string()))?;
    let entry = match found.notes.pvh_entry {
        Some(address) if !found.notes.linux => Entry {
            address: GuestAddress(address),
            protocol: Protocol::Pvh,
        },
        _ => Entry {
            address: loaded.kernel_load,
            protocol: Protocol::Linux64,
        },
    };
    if !(HIGH_RAM.0..found.end).contains(&entry.address.0) {
        return Err(Error::Damaged("its entry point is outside of it"));
    }
    Ok(Kernel {
        entry,
        end: GuestAddress(found.end),
        setup: None,
    })
}

/// What the headers and notes of a kernel say.
#[derive(Debug, Default)]
struct Found {
    /// Where its memory ends.
    end: u64,
    notes: Notes,
}

/// Checks all headers before a byte of the kernel is loaded.
fn check<F: Read + Seek>(file: &mut F, size: u64, available: u64) -> Result<Found, Error> {
    let mut header = [0; HEADER_SIZE];
    read_at(file, 0, &mut header)?;
    if header[4] != CLASS_64 {
        return Err(Error::Elf("it is not a 64-bit one"));
    }
    if header[5] != LITTLE_ENDIAN {
        return Err(Error::Elf("it is not little-endian"));
    }
    if half(&header, 18) != MACHINE_X86_64 {
        return Err(Error::Elf("it is for another architecture"));
    }
    let count = half(&header, 56);
    if count == 0 || count > MAX_PROGRAM_HEADERS {
        return Err(Error::Elf(
            "its number of program headers is not one of a kernel",
        ));
    }
    if usize::from(half(&header, 54)) != PROGRAM_HEADER_SIZE {
        return Err(Error::Damaged("its program headers have a wrong size"));
    }

    let mut found = Found::default();
    let mut offset = double(&header, 32);
    for _ in 0..count {
        let mut entry = [0; PROGRAM_HEADER_SIZE];
        read_at(file, offset, &mut entry)?;
        found.end = check_segment(&entry, size, available)?.max(found.end);
        if word(&entry, 0) == PT_NOTE {
            found
                .notes
                .read(file, double(&entry, 8), double(&entry, 32))?;
        }
        offset = offset.saturating_add(PROGRAM_HEADER_SIZE as u64);
    }
    if found.end == 0 {
        return Err(Error::Elf("it has nothing to load"));
    }
    Ok(found)
}

/// Checks one program header and returns where the memory of its segment ends; 0 if it has none.
fn check_segment(
    entry: &[u8; PROGRAM_HEADER_SIZE],
    file_size: u64,
    available: u64,
) -> Result<u64, Error> {
    let kind = word(entry, 0);
    let (offset, address) = (double(entry, 8), double(entry, 24));
    let (in_file, in_memory) = (double(entry, 32), double(entry, 40));
    if kind != PT_LOAD && kind != PT_NOTE {
        return Ok(0);
    }
    if offset
        .checked_add(in_file)
        .is_none_or(|end| end > file_size)
    {
        return Err(Error::Damaged(
            "it is shorter than its headers say; was it copied whole?",
        ));
    }
    if kind == PT_NOTE {
        return if in_file > MAX_NOTES {
            Err(Error::Damaged("its notes are too large"))
        } else {
            Ok(0)
        };
    }
    if in_file > in_memory {
        return Err(Error::Damaged(
            "a segment is larger in the file than in memory",
        ));
    }
    if in_memory == 0 {
        return Ok(0);
    }
    let end = address
        .checked_add(in_memory)
        .ok_or(Error::Damaged("a segment ends behind all memory"))?;
    check_range(address, end, available)?;
    Ok(end)
}

pub(super) fn read_at<F: Read + Seek>(
    file: &mut F,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), Error> {
    file.seek(SeekFrom::Start(offset)).map_err(Error::Read)?;
    file.read_exact(buffer)
        .map_err(|_| Error::Damaged("it ends inside its headers; was it copied whole?"))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn double(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
