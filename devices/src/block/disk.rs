//! What is behind a disk: one raw file, or several in a row that look like one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::config::SECTOR;
use super::direct::{Alignment, Bounce};
use crate::iov::{Scatter, Span};

/// Parts begin at multiples of this many bytes; the space behind a shorter one reads as zeros.
pub const PART_ALIGN: u64 = 4096;

/// Why files did not become a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file can't be asked for its size.
    #[error("can't find out the size of a disk's file")]
    Size(#[source] io::Error),
    /// There is nothing to read or write.
    #[error("a disk's file is empty: give it a size first, with `truncate -s 1G FILE` for example")]
    Empty,
    /// The last sector would be half a sector, and what the guest writes there would be lost.
    #[error(
        "a disk's file has {0} bytes, which is not a multiple of 512: make it larger with `truncate -s %512 FILE`"
    )]
    Partial(u64),
    /// The file can't be asked how it was opened.
    #[error("can't find out whether a disk's file was opened for direct I/O")]
    Direct(#[source] io::Error),
    /// Parts end anywhere, which direct I/O does not.
    #[error(
        "a disk of several files can't use direct I/O: their pages are shared with others on purpose"
    )]
    DirectParts,
    /// The last block could not be reached.
    #[error(
        "a disk's file has {len} bytes, but with direct I/O its host reads and writes {block} bytes at once: make it larger with `truncate -s %{block} FILE`"
    )]
    DirectSize {
        /// Bytes in the file.
        len: u64,
        /// Bytes in a block.
        block: u32,
    },
    /// The file is too large to have all its positions as file offsets.
    #[error("a disk of {0} bytes is too large")]
    TooLarge(u64),
}

#[derive(Debug)]
struct Part {
    file: Arc<File>,
    /// Where it begins on the disk, in bytes.
    start: u64,
    /// Bytes in the file.
    len: u64,
}

/// The contents of a disk.
#[derive(Debug)]
pub struct Disk {
    /// In order, without gaps larger than what aligns them.
    parts: Vec<Part>,
    /// Bytes, a multiple of a sector.
    size: u64,
    read_only: bool,
    /// What parts begin at multiples of.
    align: u64,
    /// What direct I/O asks for.
    direct: Option<Alignment>,
    /// Whether the files lie where a system call that should not wait for them does not.
    is_local: bool,
}

/// What reading and writing needs besides the disk; kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    scatter: Scatter,
    bounce: Bounce,
}

/// A piece of a request that lies in one file, or behind one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    File { part: usize, offset: u64, len: u64 },
    Padding { len: u64 },
}

impl Disk {
    /// A disk that is one file.
    ///
    /// # Errors
    /// [`DiskError`] if the file is empty or, when it can be written, no multiple of 512 bytes.
    pub fn file(file: File, read_only: bool) -> Result<Self, DiskError> {
        Self::new(vec![file], read_only, SECTOR)
    }

    /// A read-only disk that is several files in a row, each padded with zeros to a multiple of 4 KiB.
    ///
    /// # Errors
    /// [`DiskError`] if there is nothing in them.
    pub fn parts(files: Vec<File>) -> Result<Self, DiskError> {
        Self::new(files, true, PART_ALIGN)
    }

    fn new(files: Vec<File>, read_only: bool, align: u64) -> Result<Self, DiskError> {
        let mut direct = None;
        let mut is_local = true;
        for file in &files {
            is_local &= lies_on_this_host(file);
            direct = direct.or(Alignment::of(file).map_err(DiskError::Direct)?);
        }
        if direct.is_some() && align != SECTOR {
            return Err(DiskError::DirectParts);
        }
        let part = |file| Part {
            file: Arc::new(file),
            start: 0,
            len: 0,
        };
        let mut disk = Self {
            parts: files.into_iter().map(part).collect(),
            size: 0,
            read_only,
            align,
            direct,
            is_local,
        };
        disk.measure()?;
        Ok(disk)
    }

    /// The same files, asked for their sizes again, which may have changed. Waits for the host.
    ///
    /// # Errors
    /// As for a new disk.
    pub fn measured_again(&self) -> Result<Self, DiskError> {
        let part = |part: &Part| Part {
            file: Arc::clone(&part.file),
            start: 0,
            len: 0,
        };
        let mut disk = Self {
            parts: self.parts.iter().map(part).collect(),
            ..*self
        };
        disk.measure()?;
        Ok(disk)
    }

    fn measure(&mut self) -> Result<(), DiskError> {
        let mut size = 0_u64;
        let mut places = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let len = size_of_file(&part.file)?;
            if !self.read_only && !len.is_multiple_of(SECTOR) {
                return Err(DiskError::Partial(len));
            }
            if let Some(direct) = self.direct
                && !direct.suits(len)
            {
                let block = direct.block;
                return Err(DiskError::DirectSize { len, block });
            }
            places.push((size, len));
            size = size
                .checked_add(len)
                .and_then(|end| end.checked_next_multiple_of(self.align))
                .filter(|end| i64::try_from(*end).is_ok())
                .ok_or(DiskError::TooLarge(len))?;
        }
        if size == 0 {
            return Err(DiskError::Empty);
        }
        for (part, (start, len)) in self.parts.iter_mut().zip(places) {
            (part.start, part.len) = (start, len);
        }
        self.size = size;
        Ok(())
    }

    /// Bytes in the smallest piece that can be read or written.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.direct.map_or(512, |direct| direct.block)
    }

    /// Whether the files lie where a system call that should not wait for them does not.
    pub(super) fn is_local(&self) -> bool {
        self.is_local
    }

    /// The files, in order.
    pub(super) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.parts.iter().map(|part| part.file.as_fd())
    }

    /// Sectors of 512 bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.size / SECTOR
    }

    /// Whether it can't be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether `len` bytes at `offset` are all on the disk.
    pub(super) fn contains(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.size)
    }

    /// Fills the guest's buffers from `offset` on.
    pub(super) fn read(
        &self,
        buffers: &mut Buffers,
        span: Span<'_>,
        offset: u64,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < span.len {
            let rest = span.len - done;
            match self.locate(offset + done, rest).ok_or_else(beyond)? {
                Piece::Padding { len } => {
                    span.part(done, len).zero()?;
                    done += len;
                }
                Piece::File { part, offset, len } => {
                    let (file, piece) = (self.file_of(part)?, span.part(done, len));
                    let count = if self.must_bounce(piece, offset)? {
                        buffers.bounce.read(file, piece, offset)?
                    } else {
                        to_u64(buffers.scatter.read_at(piece, file.as_fd(), offset)?)
                    };
                    // The file has shrunk since it was opened.
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    done += count;
                }
            }
        }
        Ok(())
    }

    /// Writes the guest's buffers from `offset` on.
    pub(super) fn write(
        &self,
        buffers: &mut Buffers,
        span: Span<'_>,
        offset: u64,
    ) -> io::Result<()> {
        let file = self.writable()?;
        let mut done = 0;
        while done < span.len {
            let (piece, offset) = (span.part(done, u64::MAX), offset + done);
            let count = if self.must_bounce(piece, offset)? {
                buffers.bounce.write(file, piece, offset)?
            } else {
                to_u64(buffers.scatter.write_at(piece, file.as_fd(), offset)?)
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += count;
        }
        Ok(())
    }

    /// Whether a piece has to take the detour through an aligned buffer. What is not whole blocks is refused: the driver was told of
    /// their size.
    pub(super) fn must_bounce(&self, piece: Span<'_>, offset: u64) -> io::Result<bool> {
        let Some(direct) = self.direct else {
            return Ok(false);
        };
        if !direct.suits(offset) || !direct.suits(piece.len) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(!direct.suits_buffers(piece)?)
    }

    /// Makes what was written safe.
    pub(super) fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.writable()?.sync_data()
    }

    pub(super) fn writable(&self) -> io::Result<&File> {
        if self.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.file_of(0)
    }

    fn file_of(&self, part: usize) -> io::Result<&File> {
        self.parts
            .get(part)
            .map(|part| &*part.file)
            .ok_or_else(beyond)
    }

    /// Where the disk's byte `at` is, and how many of `len` bytes follow it there.
    pub(super) fn locate(&self, at: u64, len: u64) -> Option<Piece> {
        if at >= self.size {
            return None;
        }
        // Empty files begin where the next one does; the last that begins here is the one that has the byte.
        let index = self
            .parts
            .partition_point(|part| part.start <= at)
            .checked_sub(1)?;
        let part = self.parts.get(index)?;
        let end = self
            .parts
            .get(index + 1)
            .map_or(self.size, |next| next.start);
        let offset = at - part.start;
        Some(if offset < part.len {
            Piece::File {
                part: index,
                offset,
                len: len.min(part.len - offset),
            }
        } else {
            Piece::Padding {
                len: len.min(end - at),
            }
        })
    }
}

/// Whether a file system is one of those that keep what they promise of RWF_NOWAIT. FUSE, for one, promises it, and then
/// waits for its server in the midst of read-ahead.
fn lies_on_this_host(file: &File) -> bool {
    // ext2 to 4, XFS, Btrfs, F2FS, tmpfs; block devices are in one of the last kind.
    const LOCAL: [i64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];
    let file_system = rustix::fs::fstatfs(file);
    file_system.is_ok_and(|found| LOCAL.contains(&found.f_type))
}

/// The size of a regular file or a block device.
fn size_of_file(file: &File) -> Result<u64, DiskError> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    file.seek(SeekFrom::End(0)).map_err(DiskError::Size)
}

fn beyond() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
