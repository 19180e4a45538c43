//! What is behind a disk: one raw file, or several in a row that look like one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::config::SECTOR;
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
    /// The file is too large to have all its positions as file offsets.
    #[error("a disk of {0} bytes is too large")]
    TooLarge(u64),
}

#[derive(Debug)]
struct Part {
    file: File,
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
}

/// A piece of a request that lies in one file, or behind one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    File { part: usize, offset: u64, len: u64 },
    Padding { len: u64 },
}

impl Disk {
    /// A disk that is one file.
    ///
    /// # Errors
    /// [`DiskError`] if the file is empty or, when it can be written, no multiple of 512 bytes.
    pub fn file(file: File, read_only: bool) -> Result<Self, DiskError> {
        let len = size_of_file(&file)?;
        if !read_only && !len.is_multiple_of(SECTOR) {
            return Err(DiskError::Partial(len));
        }
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
        let mut parts = Vec::with_capacity(files.len());
        let mut size = 0_u64;
        for file in files {
            let len = size_of_file(&file)?;
            let end = size
                .checked_add(len)
                .and_then(|end| end.checked_next_multiple_of(align))
                .filter(|end| i64::try_from(*end).is_ok())
                .ok_or(DiskError::TooLarge(len))?;
            parts.push(Part {
                file,
                start: size,
                len,
            });
            size = end;
        }
        if size == 0 {
            return Err(DiskError::Empty);
        }
        Ok(Self {
            parts,
            size,
            read_only,
        })
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
        scatter: &mut Scatter,
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
                    let file = self.file_of(part)?;
                    match scatter.read_at(span.part(done, len), file.as_fd(), offset)? {
                        // The file has shrunk since it was opened.
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        count => done += to_u64(count),
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the guest's buffers from `offset` on.
    pub(super) fn write(
        &self,
        scatter: &mut Scatter,
        span: Span<'_>,
        offset: u64,
    ) -> io::Result<()> {
        let file = self.writable()?;
        let mut done = 0;
        while done < span.len {
            let rest = span.part(done, u64::MAX);
            match scatter.write_at(rest, file.as_fd(), offset + done)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => done += to_u64(count),
            }
        }
        Ok(())
    }

    /// Makes what was written safe.
    pub(super) fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.writable()?.sync_data()
    }

    /// Gives the space of a range back; it reads as zeros afterwards. `Unsupported` if the file system can't.
    pub(super) fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.allocate(
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            offset,
            len,
        )
    }

    /// Makes a range read as zeros and keeps its space.
    pub(super) fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let flags = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        match self.allocate(flags, offset, len) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            result => return result,
        }
        let file = self.writable()?;
        let mut done = 0;
        while done < len {
            let count = (len - done).min(to_u64(ZEROS.len()));
            let zeros = usize::try_from(count).map_or(&ZEROS[..], |count| &ZEROS[..count]);
            std::os::unix::fs::FileExt::write_all_at(file, zeros, offset + done)?;
            done += count;
        }
        Ok(())
    }

    fn allocate(&self, flags: i32, offset: u64, len: u64) -> io::Result<()> {
        let file = self.writable()?;
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let offset = libc::off_t::try_from(offset).map_err(invalid)?;
        let len = libc::off_t::try_from(len).map_err(invalid)?;
        // SAFETY: fallocate touches no memory of this process.
        #[allow(unsafe_code)]
        let result = unsafe { libc::fallocate(file.as_raw_fd(), flags, offset, len) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn writable(&self) -> io::Result<&File> {
        if self.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.file_of(0)
    }

    fn file_of(&self, part: usize) -> io::Result<&File> {
        self.parts
            .get(part)
            .map(|part| &part.file)
            .ok_or_else(beyond)
    }

    /// Where the disk's byte `at` is, and how many of `len` bytes follow it there.
    fn locate(&self, at: u64, len: u64) -> Option<Piece> {
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
