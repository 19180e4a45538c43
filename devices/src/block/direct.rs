//! What files opened with O_DIRECT ask for: everything aligned, and a buffer of our own where the guest's is not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, OFlags, StatxFlags};

use crate::iov::{BadBuffer, Span};

/// The coarsest alignment that is understood, and what is taken where a file system does not say.
const PAGE: u32 = 4096;

/// Multiples that positions and buffers must be of, in bytes; powers of two up to 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    /// For positions in the file, and for lengths.
    pub(super) block: u32,
    /// For buffers.
    pub(super) memory: u32,
}

impl Alignment {
    /// What a file asks for; none if it was not opened with O_DIRECT.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        if !rustix::fs::fcntl_getfl(file)?.contains(OFlags::DIRECT) {
            return Ok(None);
        }
        let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
        let is_known = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        let (block, memory) = (stat.stx_dio_offset_align, stat.stx_dio_mem_align);
        let fits = |align: u32| align.is_power_of_two() && align <= PAGE;
        Ok(Some(if is_known && fits(block) && fits(memory) {
            Self {
                block: block.max(512),
                memory: memory.max(512),
            }
        } else {
            Self {
                block: PAGE,
                memory: PAGE,
            }
        }))
    }

    /// Whether a position or a length is aligned.
    pub(super) fn suits(self, position: u64) -> bool {
        position.is_multiple_of(self.block.into())
    }

    /// Whether a system call can use the guest's buffers as they are.
    pub(super) fn suits_buffers(self, span: Span<'_>) -> Result<bool, BadBuffer> {
        let memory = usize::try_from(self.memory).unwrap_or(usize::MAX);
        let block = usize::try_from(self.block).unwrap_or(usize::MAX);
        span.is_aligned(memory, block)
    }
}

/// Bytes of the buffer. It bounds memory; longer requests go through it in turns.
const BUFFER: usize = 64 << 10;

#[repr(C, align(4096))]
struct Buffer([u8; BUFFER]);

/// A buffer between the guest's memory and a file, made when it is first needed.
#[derive(Default)]
pub(super) struct Bounce {
    buffer: Option<Box<Buffer>>,
}

impl Bounce {
    /// Reads the beginning of a span; how many bytes.
    pub(super) fn read(&mut self, file: &File, span: Span<'_>, offset: u64) -> io::Result<u64> {
        let buffer = self.part(span.len);
        let count = file.read_at(buffer, offset)?;
        let read = buffer.get(..count).unwrap_or_default();
        span.copy_in(read)?;
        Ok(to_u64(count))
    }

    /// Writes the beginning of a span; how many bytes.
    pub(super) fn write(&mut self, file: &File, span: Span<'_>, offset: u64) -> io::Result<u64> {
        let buffer = self.part(span.len);
        if span.copy_out(buffer)? < buffer.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(to_u64(file.write_at(buffer, offset)?))
    }

    /// As much of the buffer as `len` bytes need.
    fn part(&mut self, len: u64) -> &mut [u8] {
        let buffer = self
            .buffer
            .get_or_insert_with(|| Box::new(Buffer([0; BUFFER])));
        let len = usize::try_from(len).map_or(BUFFER, |len| len.min(BUFFER));
        &mut buffer.0[..len]
    }
}

impl std::fmt::Debug for Bounce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let used = self.buffer.is_some();
        f.debug_struct("Bounce").field("used", &used).finish()
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
