//! System calls straight into and out of guest memory, without a copy between.
//!
//! A [`Span`] names guest memory; a [`Scatter`] turns it into an array for vectored I/O, makes one system call, and marks
//! what the kernel wrote as dirty. The array is kept for its capacity only: its pointers never outlive the call. Only
//! `Scatter::hold` is for operations that go on by themselves; who uses it sees to it that memory and array stay.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::queue::total_len;
use crate::{GuestMemory, Segment};

/// The kernel takes no more pieces in one call.
const MAX_PIECES: usize = 1024;

/// `len` bytes of a request's buffers, beginning `from` bytes in.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The guest's memory.
    pub memory: &'a GuestMemory,
    /// The buffers.
    pub segments: &'a [Segment],
    /// Bytes to skip.
    pub from: u64,
    /// Bytes to use; what the segments don't have is not used.
    pub len: u64,
}

/// A buffer is not in the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer of {len} bytes at {addr:#x} is not in guest memory")]
pub struct BadBuffer {
    /// Guest physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
}

impl From<BadBuffer> for io::Error {
    fn from(error: BadBuffer) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl<'a> Span<'a> {
    /// All of the buffers.
    #[must_use]
    pub fn all(memory: &'a GuestMemory, segments: &'a [Segment]) -> Self {
        Self {
            memory,
            segments,
            from: 0,
            len: u64::MAX,
        }
    }

    /// The same buffers from `from` on, at most `len` bytes.
    #[must_use]
    pub fn part(self, from: u64, len: u64) -> Self {
        Self {
            from: self.from.saturating_add(from),
            len: len.min(self.len.saturating_sub(from)),
            ..self
        }
    }

    /// Copies the beginning out; how much there was.
    ///
    /// # Errors
    /// [`BadBuffer`] if it is not in guest memory.
    pub fn copy_out(self, target: &mut [u8]) -> Result<usize, BadBuffer> {
        let mut done = 0;
        let wanted = self.part(0, to_u64(target.len()));
        wanted.each_slice(|slice| {
            if let Some(target) = target.get_mut(done..) {
                done += slice.copy_to(target);
            }
            true
        })?;
        Ok(done)
    }

    /// Copies in; how much there was room for.
    ///
    /// # Errors
    /// [`BadBuffer`] if it is not in guest memory.
    pub fn copy_in(self, source: &[u8]) -> Result<usize, BadBuffer> {
        let mut done = 0;
        let wanted = self.part(0, to_u64(source.len()));
        wanted.each_slice(|slice| {
            if let Some(source) = source.get(done..) {
                let count = slice.len().min(source.len());
                // It marks what it wrote as dirty.
                slice.copy_from(&source[..count]);
                done += count;
            }
            true
        })?;
        Ok(done)
    }

    /// Fills it with zeros.
    ///
    /// # Errors
    /// [`BadBuffer`] if it is not in guest memory.
    pub fn zero(self) -> Result<(), BadBuffer> {
        const ZEROS: [u8; 4096] = [0; 4096];
        self.each_slice(|slice| {
            let mut offset = 0;
            while let Ok(rest) = slice.offset(offset)
                && !rest.is_empty()
            {
                let count = rest.len().min(ZEROS.len());
                rest.copy_from(&ZEROS[..count]);
                offset += count;
            }
            true
        })
    }

    /// Whether all pieces begin at multiples of `memory` bytes and have multiples of `len` bytes.
    ///
    /// # Errors
    /// [`BadBuffer`] if it is not in guest memory.
    pub fn is_aligned(self, memory: usize, len: usize) -> Result<bool, BadBuffer> {
        let mut aligned = true;
        self.each_slice(|slice| {
            let address = slice.ptr_guard().as_ptr().addr();
            aligned = address.is_multiple_of(memory) && slice.len().is_multiple_of(len);
            aligned
        })?;
        Ok(aligned)
    }

    /// Calls back for each contiguous piece of host memory until it answers false.
    fn each_slice(
        self,
        mut take: impl FnMut(vm_memory::VolatileSlice<'a, DirtyBits<'a>>) -> bool,
    ) -> Result<(), BadBuffer> {
        let (mut skip, mut left) = (self.from, self.len);
        for segment in self.segments {
            let len = u64::from(segment.len);
            if skip >= len {
                skip -= len;
                continue;
            }
            let (addr, len) = (segment.addr.0.checked_add(skip), (len - skip).min(left));
            skip = 0;
            left -= len;
            let bad = BadBuffer {
                addr: segment.addr.0,
                len: segment.len.into(),
            };
            let addr = GuestAddress(addr.ok_or(bad)?);
            let count = usize::try_from(len).map_err(|_| bad)?;
            for slice in GuestMemoryBackend::get_slices(self.memory, addr, count) {
                if !take(slice.map_err(|_| bad)?) {
                    return Ok(());
                }
            }
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    /// How long it is, if all of it is in guest memory.
    ///
    /// # Errors
    /// [`BadBuffer`] if it is not.
    pub fn checked_len(self) -> Result<u64, BadBuffer> {
        let mut len = 0;
        self.each_slice(|slice| {
            len += to_u64(slice.len());
            true
        })?;
        Ok(len)
    }

    /// Notes that the kernel wrote the first `count` bytes.
    pub(crate) fn mark_dirty(self, count: usize) {
        let written = self.part(0, to_u64(count));
        // The span was walked before, so there is no error to come.
        let _ = written.each_slice(|slice| {
            slice.bitmap().mark_dirty(0, slice.len());
            true
        });
    }
}

type DirtyBits<'a> = vm_memory::bitmap::MS<'a, GuestMemory>;

/// Makes system calls on spans. One per device, kept for its capacity.
#[derive(Debug, Default)]
pub struct Scatter {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
#[repr(transparent)]
struct Piece(libc::iovec);

impl Piece {
    fn new(base: *mut u8, len: usize) -> Self {
        Self(libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        })
    }
}

// SAFETY: the pointer is only used within the call that made it, or, after `hold`, by the kernel, to which threads are all the
// same.
#[allow(unsafe_code)]
unsafe impl Send for Piece {}

/// An array for vectored I/O that a [`Scatter`] holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) pieces: *const libc::iovec,
    pub(crate) count: u32,
    /// The only piece, if it is one: address and bytes.
    pub(crate) only: Option<(*mut u8, u32)>,
}

impl Scatter {
    /// Reads from a file at `offset` into the guest. Short reads are possible; 0 is the end of the file.
    ///
    /// # Errors
    /// The system call's, or [`BadBuffer`] as `InvalidInput`.
    pub fn read_at(
        &mut self,
        span: Span<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
    ) -> io::Result<usize> {
        let offset = to_offset(offset)?;
        self.fill_guest(span, |pieces, count| {
            // SAFETY: `call` passes valid pieces of mapped guest memory. A single one needs no array, which spares the kernel a copy.
            #[allow(unsafe_code)]
            unsafe {
                match count {
                    1 => libc::pread(
                        file.as_raw_fd(),
                        (*pieces).iov_base,
                        (*pieces).iov_len,
                        offset,
                    ),
                    _ => libc::preadv(file.as_raw_fd(), pieces, count, offset),
                }
            }
        })
    }

    /// Writes from the guest into a file at `offset`. Short writes are possible.
    ///
    /// # Errors
    /// The system call's, or [`BadBuffer`] as `InvalidInput`.
    pub fn write_at(
        &mut self,
        span: Span<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
    ) -> io::Result<usize> {
        let offset = to_offset(offset)?;
        self.call(span, |pieces, count| {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            unsafe {
                match count {
                    1 => libc::pwrite(
                        file.as_raw_fd(),
                        (*pieces).iov_base,
                        (*pieces).iov_len,
                        offset,
                    ),
                    _ => libc::pwritev(file.as_raw_fd(), pieces, count, offset),
                }
            }
        })
    }

    /// Writes from the guest to the end of a file, wherever that is by now. Short writes are possible.
    ///
    /// # Errors
    /// The system call's, or [`BadBuffer`] as `InvalidInput`.
    pub fn append(&mut self, span: Span<'_>, file: BorrowedFd<'_>) -> io::Result<usize> {
        self.call(span, |pieces, count| {
            // SAFETY: `call` passes valid pieces of mapped guest memory.
            #[allow(unsafe_code)]
            unsafe {
                libc::pwritev2(file.as_raw_fd(), pieces, count, 0, libc::RWF_APPEND)
            }
        })
    }

    /// Reads from a stream into the guest. 0 is the end.
    ///
    /// # Errors
    /// The system call's, or [`BadBuffer`] as `InvalidInput`.
    pub fn read(&mut self, span: Span<'_>, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.fill_guest(span, |pieces, count| {
            // SAFETY: `call` passes valid pieces of mapped guest memory.
            #[allow(unsafe_code)]
            unsafe {
                libc::readv(fd.as_raw_fd(), pieces, count)
            }
        })
    }

    /// Writes from the guest into a stream.
    ///
    /// # Errors
    /// The system call's, or [`BadBuffer`] as `InvalidInput`.
    pub fn write(&mut self, span: Span<'_>, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.call(span, |pieces, count| {
            // SAFETY: `call` passes valid pieces of mapped guest memory.
            #[allow(unsafe_code)]
            unsafe {
                libc::writev(fd.as_raw_fd(), pieces, count)
            }
        })
    }

    /// Writes one frame: `head`, then what is in the guest. It goes out in one piece or not at all.
    ///
    /// # Errors
    /// The system call's, [`BadBuffer`] as `InvalidInput`, or `InvalidInput` if the frame is in too many pieces.
    pub fn write_frame(
        &mut self,
        head: &[u8],
        rest: Span<'_>,
        fd: BorrowedFd<'_>,
    ) -> io::Result<usize> {
        self.pieces.clear();
        // It is only read from.
        self.pieces
            .push(Piece::new(head.as_ptr().cast_mut(), head.len()));
        if !self.gather(rest)? {
            self.pieces.clear();
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.invoke(|pieces, count| {
            // SAFETY: the pieces are `head`, which is borrowed during the call, and mapped guest memory.
            #[allow(unsafe_code)]
            unsafe {
                libc::writev(fd.as_raw_fd(), pieces, count)
            }
        })
    }

    /// Writes one frame that is all in the guest, in one piece or not at all.
    ///
    /// # Errors
    /// As [`Scatter::write_frame`].
    pub fn write_whole(&mut self, span: Span<'_>, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.pieces.clear();
        if !self.gather(span)? {
            self.pieces.clear();
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.invoke(|pieces, count| {
            // SAFETY: the pieces are mapped guest memory. A single one needs no array.
            #[allow(unsafe_code)]
            unsafe {
                match count {
                    1 => libc::write(fd.as_raw_fd(), (*pieces).iov_base, (*pieces).iov_len),
                    _ => libc::writev(fd.as_raw_fd(), pieces, count),
                }
            }
        })
    }

    /// Reads one frame into the guest, from the first buffer on, and what those have no room for into `spill`; its length.
    ///
    /// # Errors
    /// As [`Scatter::write_frame`].
    pub fn read_frame<'a>(
        &mut self,
        buffers: impl Iterator<Item = Span<'a>> + Clone,
        spill: &mut [u8],
        fd: BorrowedFd<'_>,
    ) -> io::Result<usize> {
        self.pieces.clear();
        for buffer in buffers.clone() {
            if !self.gather(buffer)? {
                self.pieces.clear();
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        self.pieces
            .push(Piece::new(spill.as_mut_ptr(), spill.len()));
        let count = self.invoke(|pieces, count| {
            // SAFETY: the pieces are mapped guest memory and `spill`, which is borrowed during the call.
            #[allow(unsafe_code)]
            unsafe {
                libc::readv(fd.as_raw_fd(), pieces, count)
            }
        })?;
        let mut left = count;
        for buffer in buffers {
            let len = usize::try_from(total_len(buffer.segments)).unwrap_or(usize::MAX);
            buffer.mark_dirty(left.min(len));
            left = left.saturating_sub(len);
        }
        Ok(count)
    }

    /// Reads from a socket into the guest without waiting. 0 is the end.
    ///
    /// # Errors
    /// The system call's, or [`BadBuffer`] as `InvalidInput`.
    pub fn receive(&mut self, span: Span<'_>, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.fill_guest(span, |pieces, count| {
            let mut message = message(pieces, count);
            // SAFETY: `call` passes valid pieces of mapped guest memory, and the message holds nothing else.
            #[allow(unsafe_code)]
            unsafe {
                libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT)
            }
        })
    }

    /// Writes from the guest into a socket without waiting, and without a SIGPIPE.
    ///
    /// # Errors
    /// The system call's, or [`BadBuffer`] as `InvalidInput`.
    pub fn send(&mut self, span: Span<'_>, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.call(span, |pieces, count| {
            let message = message(pieces, count);
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: `call` passes valid pieces of mapped guest memory, and the message holds nothing else.
            #[allow(unsafe_code)]
            unsafe {
                libc::sendmsg(socket.as_raw_fd(), &raw const message, flags)
            }
        })
    }

    /// Fills the guest's buffers with random bytes from the kernel; how many.
    ///
    /// # Errors
    /// The system call's, or [`BadBuffer`] as `InvalidInput`.
    pub fn randomize(&mut self, span: Span<'_>) -> io::Result<usize> {
        self.collect(span)?;
        let mut done = 0;
        for piece in self.pieces.drain(..) {
            // SAFETY: `collect` made the piece from mapped guest memory.
            #[allow(unsafe_code)]
            let result = unsafe { libc::getrandom(piece.0.iov_base, piece.0.iov_len, 0) };
            match usize::try_from(result) {
                Ok(count) => {
                    done += count;
                    if count < piece.0.iov_len {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(_) => return Err(io::Error::last_os_error()),
            }
        }
        span.mark_dirty(done);
        Ok(done)
    }

    /// The array for a span, for an operation that goes on after this call. It is good until the next call of any method:
    /// until the operation has ended, neither this nor the guest's memory may go away.
    ///
    /// # Errors
    /// [`BadBuffer`] if it is not in guest memory.
    pub(crate) fn hold(&mut self, span: Span<'_>) -> Result<Held, BadBuffer> {
        self.collect(span)?;
        let only = match self.pieces.as_slice() {
            [Piece(only)] => u32::try_from(only.iov_len)
                .ok()
                .map(|len| (only.iov_base.cast(), len)),
            _ => None,
        };
        Ok(Held {
            pieces: self.pieces.as_ptr().cast(),
            // At most `MAX_PIECES`.
            count: u32::try_from(self.pieces.len()).unwrap_or(0),
            only,
        })
    }

    fn fill_guest(
        &mut self,
        span: Span<'_>,
        system_call: impl FnMut(*const libc::iovec, i32) -> isize,
    ) -> io::Result<usize> {
        let count = self.call(span, system_call)?;
        span.mark_dirty(count);
        Ok(count)
    }

    fn call(
        &mut self,
        span: Span<'_>,
        system_call: impl FnMut(*const libc::iovec, i32) -> isize,
    ) -> io::Result<usize> {
        self.collect(span)?;
        self.invoke(system_call)
    }

    /// Makes the system call with the pieces that there are, until it is not interrupted.
    fn invoke(
        &mut self,
        mut system_call: impl FnMut(*const libc::iovec, i32) -> isize,
    ) -> io::Result<usize> {
        let count = i32::try_from(self.pieces.len()).unwrap_or(0);
        let result = loop {
            // `Piece` is transparent, so the pointer is to an array of `iovec`.
            let result = system_call(self.pieces.as_ptr().cast(), count);
            match usize::try_from(result) {
                Ok(count) => break Ok(count),
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => break Err(error),
                },
            }
        };
        self.pieces.clear();
        result
    }

    fn collect(&mut self, span: Span<'_>) -> Result<(), BadBuffer> {
        self.pieces.clear();
        self.gather(span).map(|_| ())
    }

    /// Adds pieces; whether all of them found a place, with one left. None stays if a buffer is bad.
    fn gather(&mut self, span: Span<'_>) -> Result<bool, BadBuffer> {
        let pieces = &mut self.pieces;
        let walked = span.each_slice(|slice| {
            let base = slice.ptr_guard_mut().as_ptr();
            pieces.push(Piece::new(base, slice.len()));
            pieces.len() < MAX_PIECES
        });
        if walked.is_err() {
            pieces.clear();
        }
        walked.map(|()| self.pieces.len() < MAX_PIECES)
    }
}

fn message(pieces: *const libc::iovec, count: i32) -> libc::msghdr {
    // SAFETY: all-zero is a message without address, buffers or control data.
    #[allow(unsafe_code)]
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.cast_mut();
    message.msg_iovlen = usize::try_from(count).unwrap_or(0);
    message
}

fn to_offset(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
