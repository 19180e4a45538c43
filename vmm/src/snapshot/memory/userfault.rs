//! The kernel's side of memory whose missing pages somebody else has (Linux, `Documentation/admin-guide/mm/userfaultfd.rst`).

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::pages::PAGE;
use crate::memory::Region;

/// `USERFAULTFD_IOC_NEW`, and the calls of what it makes: `UFFDIO_API`, `UFFDIO_REGISTER`, `UFFDIO_WAKE`, `UFFDIO_COPY`, `UFFDIO_ZEROPAGE`.
const NEW: libc::Ioctl = 0xaa00;
const API: libc::Ioctl = 0xc018_aa3f;
const REGISTER: libc::Ioctl = 0xc020_aa00;
const WAKE: libc::Ioctl = 0x8010_aa02;
const COPY: libc::Ioctl = 0xc028_aa03;
const ZERO: libc::Ioctl = 0xc020_aa04;
/// The version of the interface.
const VERSION: u64 = 0xaa;
/// Memory that is given back is told of (`UFFD_FEATURE_EVENT_REMOVE`): what is touched there later is zeros.
const REMOVALS: u64 = 1 << 3;
/// Faults of pages that are not there.
const MISSING: u64 = 1;

/// Bytes of `struct uffd_msg`, and how many are read at once.
const MESSAGE: usize = 32;
const AT_ONCE: usize = 16;
/// `UFFD_EVENT_PAGEFAULT`, `UFFD_EVENT_REMOVE`, and the flag of a fault that a write caused.
const FAULT: u8 = 0x12;
const REMOVE: u8 = 0x15;
const WRITE: u64 = 1;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

/// `struct uffdio_copy`.
#[repr(C)]
struct CopyPage {
    to: u64,
    from: u64,
    length: u64,
    mode: u64,
    copied: i64,
}

/// `struct uffdio_zeropage`.
#[repr(C)]
struct ZeroPage {
    start: u64,
    length: u64,
    mode: u64,
    zeroed: i64,
}

/// The bytes of a page.
pub(super) type Page = [u8; 4096];

/// What is told of some memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody waits for the page at this address.
    Fault { address: u64, is_write: bool },
    /// What was there is given back, and is zeros from now on.
    Removed { start: u64, end: u64 },
}

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is there, and whoever waited for it goes on.
    Done,
    /// Memory is being given back; there is an event to be read before.
    Again,
    /// The memory is no more.
    Gone,
}

/// The faults of some memory.
#[derive(Debug)]
pub(super) struct Userfault(File);

impl Userfault {
    /// Makes one of `/dev/userfaultfd`. It has no memory yet.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn new(device: &OwnedFd) -> io::Result<Self> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: the ioctl takes flags and makes a descriptor.
        let fd = unsafe { libc::ioctl(device.as_raw_fd(), NEW, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and is nobody else's.
        let faults = Self(unsafe { File::from_raw_fd(fd) });
        let mut api = Api {
            api: VERSION,
            features: REMOVALS,
            ioctls: 0,
        };
        // SAFETY: the structure is what this ioctl reads and writes.
        unsafe { faults.call(API, &raw mut api) }?;
        Ok(faults)
    }

    /// Takes the faults of a region, of which nobody has touched anything yet; the addresses of its mapping.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn register(&self, region: &Region) -> io::Result<Range<u64>> {
        use vm_memory::GuestMemoryRegion;
        let start = region.as_ptr() as u64;
        let mut register = Register {
            start,
            length: region.len(),
            mode: MISSING,
            ioctls: 0,
        };
        // SAFETY: the structure is what this ioctl reads and writes; the range is a mapping of the guest's memory, which nobody relies on
        // to be zero.
        unsafe { self.call(REGISTER, &raw mut register) }?;
        Ok(start..start + region.len())
    }

    /// Calls back for what there is to be told, and does not wait for it.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn events(&self, mut take: impl FnMut(Event)) -> io::Result<()> {
        let mut messages = [0; MESSAGE * AT_ONCE];
        let read = match (&self.0).read(&mut messages) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let (messages, _) = messages.get(..read).unwrap_or_default().as_chunks();
        messages.iter().filter_map(parse).for_each(&mut take);
        Ok(())
    }

    /// Puts a page at an address of the memory, and wakes whoever waits for it.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn copy(&self, address: u64, page: &Page) -> io::Result<Put> {
        let mut copy = CopyPage {
            to: address,
            from: page.as_ptr() as u64,
            length: PAGE,
            mode: 0,
            copied: 0,
        };
        // SAFETY: the structure is what this ioctl reads and writes, and its source is a page that lives through the call. What it writes is
        // a page of memory that was registered and that nobody has.
        let done = unsafe { self.call(COPY, &raw mut copy) };
        self.put(address, done)
    }

    /// Puts a page of zeros there.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn zero(&self, address: u64) -> io::Result<Put> {
        let mut zero = ZeroPage {
            start: address,
            length: PAGE,
            mode: 0,
            zeroed: 0,
        };
        // SAFETY: the structure is what this ioctl reads and writes; the page is of memory that was registered, and nobody has it.
        let done = unsafe { self.call(ZERO, &raw mut zero) };
        self.put(address, done)
    }

    fn put(&self, address: u64, done: io::Result<()>) -> io::Result<Put> {
        let Err(error) = done else {
            return Ok(Put::Done);
        };
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(Put::Again),
            // Two waited for it, and it was put there for the first.
            Some(libc::EEXIST) => self.wake(address).map(|()| Put::Done),
            Some(libc::ENOENT | libc::ESRCH) => Ok(Put::Gone),
            _ => Err(error),
        }
    }

    fn wake(&self, address: u64) -> io::Result<()> {
        let mut range = [address, PAGE];
        // SAFETY: two numbers are what this ioctl reads.
        unsafe { self.call(WAKE, range.as_mut_ptr()) }
    }

    /// # Safety
    /// The ioctl must read and write no more than such a structure, and do nothing to memory that somebody relies on.
    unsafe fn call<T>(&self, number: libc::Ioctl, argument: *mut T) -> io::Result<()> {
        // SAFETY: the caller sees to it.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), number, argument) } {
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl AsFd for Userfault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a message says; none if it is of no kind that was asked for.
fn parse(message: &[u8; MESSAGE]) -> Option<Event> {
    let number = |at: usize| {
        let bytes = message.get(at..at + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    match *message.first()? {
        FAULT => Some(Event::Fault {
            address: number(16)? & !(PAGE - 1),
            is_write: number(8)? & WRITE != 0,
        }),
        REMOVE => Some(Event::Removed {
            start: number(8)?,
            end: number(16)?,
        }),
        _ => None,
    }
}
