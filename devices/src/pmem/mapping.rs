//! Files as memory of this process, one after the other in one stretch of addresses.
//!
//! The stretch is reserved first, aligned so that the host can use huge pages; then the files are mapped into it at
//! their places. What lies behind a file up to the next page reads as zeros, and so does what fills the stretch up.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestRegionMmap};

/// The alignment of a mapping's address and size, in bytes: that of a huge page, and what Linux wants of memory that is
/// plugged in.
pub const MAPPING_ALIGN: u64 = 2 << 20;
/// Parts begin at multiples of this many bytes: a page. A disk of the same files has them at the same places.
pub const MAPPING_PART_ALIGN: u64 = crate::block::PART_ALIGN;

/// Why files did not become memory.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The file can't be asked for its size.
    #[error("can't find out the size of a file for persistent memory")]
    Size(#[source] io::Error),
    /// There is nothing in it.
    #[error(
        "a file for persistent memory is empty: give it a size first, with `truncate -s 1G FILE` for example"
    )]
    Empty,
    /// What the guest writes into the last page would be lost.
    #[error(
        "a file for persistent memory has {0} bytes, which is not a multiple of 4096: make it larger with `truncate -s %4096 FILE`"
    )]
    Partial(u64),
    /// More than there are addresses.
    #[error("{0} bytes are too much for persistent memory")]
    TooLarge(u64),
    /// The kernel refused.
    #[error("can't map {len} bytes of a file for persistent memory")]
    Map {
        /// Bytes.
        len: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Files as memory. While it lives, so does the memory. Its pages can vanish only if somebody shortens a file: then whoever
/// touches them gets a SIGBUS, for which the VMM has a handler that says so and ends.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<libc::c_void>,
    size: usize,
    /// The file to which writes go; none if the memory is read-only.
    writable: Option<File>,
}

// SAFETY: the memory belongs to no thread, and this type gives no reference to what is in it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// A file's place.
struct Part {
    file: File,
    start: u64,
    len: u64,
}

impl Mapping {
    /// Memory that is one file. If it can be written, what the guest writes is in the file, and safe after a flush.
    ///
    /// # Errors
    /// [`MappingError`] if the file is empty or, when it can be written, no multiple of 4 KiB, or can't be mapped.
    pub fn file(file: File, read_only: bool) -> Result<Self, MappingError> {
        if read_only {
            return Self::parts(vec![file]);
        }
        let len = size_of_file(&file)?;
        if !len.is_multiple_of(MAPPING_PART_ALIGN) {
            return Err(MappingError::Partial(len));
        }
        let size = padded(len, MAPPING_ALIGN).ok_or(MappingError::TooLarge(len))?;
        let mut mapping = Self::reserve(size)?;
        mapping.place(&file, 0, len, libc::MAP_SHARED)?;
        mapping.writable = Some(file);
        Ok(mapping)
    }

    /// Read-only memory that is several files in a row, each padded with zeros to a multiple of 4 KiB, and all of them to a multiple
    /// of [`MAPPING_ALIGN`].
    ///
    /// # Errors
    /// [`MappingError`] if there is nothing in them, or they can't be mapped.
    pub fn parts(files: Vec<File>) -> Result<Self, MappingError> {
        let mut parts = Vec::with_capacity(files.len());
        let mut end = 0_u64;
        for file in files {
            let len = size_of_file(&file)?;
            let start = end;
            end = padded(len, MAPPING_PART_ALIGN)
                .and_then(|len| start.checked_add(len))
                .ok_or(MappingError::TooLarge(len))?;
            parts.push(Part { file, start, len });
        }
        let size = padded(end, MAPPING_ALIGN).ok_or(MappingError::TooLarge(end))?;
        let mut mapping = Self::reserve(size)?;
        for part in parts.iter().filter(|part| part.len > 0) {
            // Private, although nobody is to write: a driver can name this memory as a buffer that a device fills, and then
            // gets a copy of its own instead of a signal for this process.
            mapping.place(&part.file, part.start, part.len, libc::MAP_PRIVATE)?;
        }
        Ok(mapping)
    }

    /// Where it begins in this process: a multiple of [`MAPPING_ALIGN`]. For KVM_SET_USER_MEMORY_REGION.
    #[must_use]
    pub fn host_address(&self) -> u64 {
        u64::try_from(self.base.as_ptr().addr()).unwrap_or(u64::MAX)
    }

    /// Bytes, a multiple of [`MAPPING_ALIGN`].
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.size).unwrap_or(u64::MAX)
    }

    /// Whether the guest's processor must not write; KVM must be told (KVM_MEM_READONLY).
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writable.is_none()
    }

    /// The same as a region of the guest's memory at `address`, for the devices; none if it does not fit there. Nothing in it is ever
    /// marked as dirty.
    ///
    /// # Safety
    /// The mapping must outlive the region.
    #[must_use]
    pub unsafe fn region(
        &self,
        address: GuestAddress,
    ) -> Option<GuestRegionMmap<Option<AtomicBitmap>>> {
        let flags = if self.is_read_only() {
            libc::MAP_PRIVATE
        } else {
            libc::MAP_SHARED
        };
        let builder = MmapRegionBuilder::new_with_bitmap(self.size, None)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(flags);
        // SAFETY: the stretch is mapped, in all its length, for as long as this lives, which is longer than the region.
        let builder = unsafe { builder.with_raw_mmap_pointer(self.base.as_ptr().cast()) };
        GuestRegionMmap::new(builder.build().ok()?, address)
    }

    /// Makes what was written safe.
    ///
    /// # Errors
    /// What the disk said.
    pub(super) fn sync(&self) -> io::Result<()> {
        // It writes what is dirty in the page cache, whoever made it so, and a shared mapping is the page cache.
        self.writable.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Addresses that are not in use, all of them zeros until files take their places.
    fn reserve(size: u64) -> Result<Self, MappingError> {
        if size == 0 {
            return Err(MappingError::Empty);
        }
        let too_large = || MappingError::TooLarge(size);
        let align = usize::try_from(MAPPING_ALIGN).map_err(|_| too_large())?;
        let size = usize::try_from(size).map_err(|_| too_large())?;
        let more = size.checked_add(align).ok_or_else(too_large)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses addresses that are not in use.
        let found = unsafe { libc::mmap(std::ptr::null_mut(), more, prot, flags, -1, 0) };
        let failed = |source| MappingError::Map {
            len: u64::try_from(more).unwrap_or(u64::MAX),
            source,
        };
        if found == libc::MAP_FAILED {
            return Err(failed(io::Error::last_os_error()));
        }
        let before = found.addr().next_multiple_of(align) - found.addr();
        // SAFETY: `before` is less than `align`, so the result and `size` bytes behind it are in what was just mapped.
        let base = unsafe { found.byte_add(before) };
        // SAFETY: as above; the end of the stretch.
        let end = unsafe { base.byte_add(size) };
        for (start, len) in [(found, before), (end, align - before)] {
            if len > 0 {
                // SAFETY: that is the rest of what was just mapped, which nobody knows.
                unsafe { libc::munmap(start, len) };
            }
        }
        let base = NonNull::new(base).ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
        Ok(Self {
            base,
            size,
            writable: None,
        })
    }

    /// Maps a file's `len` bytes, rounded up to pages, at `start` in the stretch.
    fn place(&mut self, file: &File, start: u64, len: u64, flags: i32) -> Result<(), MappingError> {
        let invalid = || MappingError::TooLarge(len);
        let start = usize::try_from(start).map_err(|_| invalid())?;
        let bytes = usize::try_from(len).map_err(|_| invalid())?;
        let page = usize::try_from(MAPPING_PART_ALIGN).map_err(|_| invalid())?;
        let fits = bytes
            .checked_next_multiple_of(page)
            .and_then(|bytes| start.checked_add(bytes))
            .is_some_and(|end| end <= self.size);
        if !fits || !start.is_multiple_of(page) {
            return Err(invalid());
        }
        // SAFETY: `start` is in the stretch.
        let place = unsafe { self.base.as_ptr().byte_add(start) };
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = flags | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: all pages that are replaced are in the stretch, which is ours, and to which nobody has an address yet.
        let mapped = unsafe { libc::mmap(place, bytes, prot, flags, file.as_raw_fd(), 0) };
        if mapped == libc::MAP_FAILED {
            let source = io::Error::last_os_error();
            return Err(MappingError::Map { len, source });
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the stretch is ours, and whoever was given its address promised to be gone.
        unsafe { libc::munmap(self.base.as_ptr(), self.size) };
    }
}

/// Rounded up, and still a file's position.
fn padded(len: u64, align: u64) -> Option<u64> {
    len.checked_next_multiple_of(align)
        .filter(|len| i64::try_from(*len).is_ok())
}

/// The size of a regular file or a block device.
fn size_of_file(file: &File) -> Result<u64, MappingError> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    file.seek(SeekFrom::End(0)).map_err(MappingError::Size)
}
