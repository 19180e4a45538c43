//! Room for what is left of a frame that is larger than the guest's buffers.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::frame::{HEADER, MAX_FRAME};

/// One byte longer than any frame, so that one that fills it is known to be too long. It is a mapping and not of the heap, which would
/// write zeros into all of it: hardly a driver leaves anything over, and until one does there is no page of it.
#[derive(Debug)]
pub(super) struct Spill(NonNull<u8>);

const LEN: usize = HEADER + MAX_FRAME + 1;

// SAFETY: the mapping belongs to this alone.
#[allow(unsafe_code)]
unsafe impl Send for Spill {}

impl Spill {
    #[allow(unsafe_code)]
    pub(super) fn new() -> io::Result<Self> {
        let readable = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: where there is a place for it is the kernel's choice, so nothing that is mapped is touched.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), LEN, readable, MapFlags::PRIVATE)? };
        NonNull::new(start.cast())
            .map_or_else(|| Err(io::ErrorKind::OutOfMemory.into()), |at| Ok(Self(at)))
    }
}

impl Deref for Spill {
    type Target = [u8];

    #[allow(unsafe_code)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is as long, lives as long as this, and was zeros before anything was written to it.
        unsafe { slice::from_raw_parts(self.0.as_ptr(), LEN) }
    }
}

impl DerefMut for Spill {
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and whoever has this alone has the mapping alone.
        unsafe { slice::from_raw_parts_mut(self.0.as_ptr(), LEN) }
    }
}

impl Drop for Spill {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: nobody has a reference to what is in it any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), LEN) };
    }
}
