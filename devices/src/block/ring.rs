//! An io_uring that can do no more than a disk needs: read, write and sync the disk's files.
//!
//! System calls made through a ring pass by the VMM's seccomp filter, so the ring is restricted before it is enabled: three
//! operations (two of them also for a single buffer, which costs the kernel less), on registered files only, which also saves the kernel from looking them up for each request. Completions
//! come by signals to the submitting thread's kernel side (no COOP_TASKRUN, no DEFER_TASKRUN): whoever holds the
//! device, also a vCPU that resets it, can wait for them while the submitting thread sleeps.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::types::{Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::iov::Held;

/// IORING_REGISTER_FILES and IORING_UNREGISTER_FILES, which are needed to change the disk's file.
const REGISTER_FILES: u8 = 2;
const UNREGISTER_FILES: u8 = 3;

/// What is asked of the kernel; files by their number in the disk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Read {
        file: usize,
        offset: u64,
        held: Held,
    },
    Write {
        file: usize,
        offset: u64,
        held: Held,
        /// Safe before it is done.
        durable: bool,
    },
    Sync {
        file: usize,
    },
}

/// The ring.
pub(super) struct Ring {
    ring: IoUring,
}

impl Ring {
    /// A ring for as many operations at once, on these files.
    pub(super) fn new(entries: u32, files: &[RawFd]) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_r_disabled()
            .dontfork()
            .build(entries)?;
        let submitter = ring.submitter();
        submitter.register_files(files)?;
        submitter.register_restrictions(&mut [
            Restriction::sqe_op(opcode::Read::CODE),
            Restriction::sqe_op(opcode::Readv::CODE),
            Restriction::sqe_op(opcode::Write::CODE),
            Restriction::sqe_op(opcode::Writev::CODE),
            Restriction::sqe_op(opcode::Fsync::CODE),
            Restriction::sqe_flags_required(Flags::FIXED_FILE.bits()),
            Restriction::sqe_flags_allowed(Flags::FIXED_FILE.bits() | Flags::ASYNC.bits()),
            Restriction::register_op(REGISTER_FILES),
            Restriction::register_op(UNREGISTER_FILES),
        ])?;
        submitter.register_enable_rings()?;
        Ok(Self { ring })
    }

    /// Readable while there are completions.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Changes the files. Nothing may be in flight.
    pub(super) fn set_files(&self, files: &[RawFd]) -> io::Result<()> {
        let submitter = self.ring.submitter();
        submitter.unregister_files()?;
        submitter.register_files(files)
    }

    /// Lets go of the files, with nothing in flight. The kernel takes its time to take a ring apart, and until then its files
    /// would stay open, and locked for whoever wants them next.
    pub(super) fn let_go(&self) {
        if let Err(error) = self.ring.submitter().unregister_files() {
            tracing::debug!(%error, "a disk's io_uring holds on to its files");
        }
    }

    /// Puts an operation into the ring, for the next [`Ring::submit`]; its completion has `token`. Only what is `inline` may be
    /// done at once by who submits it: where the host's memory has it, that is the fastest, but a file that lies elsewhere
    /// would have that thread wait.
    ///
    /// # Errors
    /// If the ring is full.
    ///
    /// # Safety
    /// The array of the operation, and the memory to which it points, must stay as they are until the completion was
    /// taken.
    #[allow(unsafe_code)]
    pub(super) unsafe fn push(
        &mut self,
        operation: Operation,
        token: u64,
        inline: bool,
    ) -> io::Result<()> {
        let flags = if inline { Flags::empty() } else { Flags::ASYNC };
        let entry = entry(operation)?.user_data(token).flags(flags);
        // SAFETY: of the caller.
        unsafe { self.ring.submission().push(&entry) }
            .map_err(|_| io::ErrorKind::ResourceBusy.into())
    }

    /// Gives the kernel what was put into the ring; false if some of it could not be taken now.
    pub(super) fn submit(&mut self) -> io::Result<bool> {
        if self.ring.submission().is_empty() {
            return Ok(true);
        }
        match self.ring.submit() {
            Ok(_) => Ok(self.ring.submission().is_empty()),
            Err(error) if is_passing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until there is a completion.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => return Ok(()),
                Err(error) if is_passing(&error) => {
                    if !self.ring.completion().is_empty() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there is a completion; false if none came in time.
    pub(super) fn wait_for(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            // What the kernel did not take is tried again.
            if self.ring.submit().is_err_and(|error| !is_passing(&error)) {
                return false;
            }
            if !self.ring.completion().is_empty() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let mut fds = [PollFd::new(&self.ring, PollFlags::IN)];
            let _ = rustix::event::poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        }
    }

    /// Takes a completion: its token, and the operation's result or negative error number.
    pub(super) fn pop(&mut self) -> Option<(u64, i32)> {
        let entry = self.ring.completion().next()?;
        Some((entry.user_data(), entry.result()))
    }
}

/// Whether trying again helps.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
}

fn entry(operation: Operation) -> io::Result<squeue::Entry> {
    let fixed = |file: usize| {
        let file = u32::try_from(file).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok::<_, io::Error>(Fixed(file))
    };
    Ok(match operation {
        Operation::Read { file, offset, held } => match held.only {
            Some((buffer, len)) => opcode::Read::new(fixed(file)?, buffer, len)
                .offset(offset)
                .build(),
            None => opcode::Readv::new(fixed(file)?, held.pieces, held.count)
                .offset(offset)
                .build(),
        },
        Operation::Write {
            file,
            offset,
            held,
            durable,
        } => {
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            match held.only {
                Some((buffer, len)) => opcode::Write::new(fixed(file)?, buffer, len)
                    .offset(offset)
                    .rw_flags(flags)
                    .build(),
                None => opcode::Writev::new(fixed(file)?, held.pieces, held.count)
                    .offset(offset)
                    .rw_flags(flags)
                    .build(),
            }
        }
        Operation::Sync { file } => opcode::Fsync::new(fixed(file)?)
            .flags(FsyncFlags::DATASYNC)
            .build(),
    })
}

/// The files' descriptors, as the ring takes them.
pub(super) fn numbers<'a>(files: impl Iterator<Item = BorrowedFd<'a>>) -> Vec<RawFd> {
    files.map(|file| file.as_raw_fd()).collect()
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn the_ring_can_do_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        let mut ring = Ring::new(4, &[file.as_raw_fd()]).unwrap();
        let plain = io_uring::types::Fd(file.as_raw_fd());
        let refused = [
            opcode::Nop::new().build(),
            opcode::Fsync::new(plain).build(),
            opcode::Fallocate::new(Fixed(0), 4096).build(),
            opcode::Close::new(plain).build(),
        ];
        for entry in refused {
            // SAFETY: none of these operations has a buffer.
            unsafe { ring.ring.submission().push(&entry).unwrap() };
            ring.wait().unwrap();
            assert_eq!(ring.pop(), Some((0, -libc::EACCES)));
        }
        // SAFETY: as above.
        unsafe { ring.push(Operation::Sync { file: 0 }, 7, false).unwrap() };
        ring.wait().unwrap();
        assert_eq!(ring.pop(), Some((7, 0)));
        assert!(
            ring.ring
                .submitter()
                .register_eventfd(file.as_raw_fd())
                .is_err()
        );
    }
}
