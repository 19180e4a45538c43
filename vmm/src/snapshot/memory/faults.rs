//! Memory that another process fills, a page when somebody first touches it (Linux, `Documentation/admin-guide/mm/userfaultfd.rst`).
//!
//! The other process gets the descriptor of the faults, with a line of JSON that says which addresses are which part of the
//! memory's file, as Firecracker has it. It is as trusted as a file would be: what it puts there is the guest's memory.

#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use hull_devices::GuestMemory;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

/// `USERFAULTFD_IOC_NEW`, `UFFDIO_API` and `UFFDIO_REGISTER`.
const NEW: libc::Ioctl = 0xaa00;
const API: libc::Ioctl = 0xc018_aa3f;
const REGISTER: libc::Ioctl = 0xc020_aa00;
/// The version of the interface.
const VERSION: u64 = 0xaa;
/// The other process is told of memory that is given back (`UFFD_FEATURE_EVENT_REMOVE`): what is touched there later is zeros.
const REMOVALS: u64 = 1 << 3;
/// Faults of pages that are not there.
const MISSING: u64 = 1;

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

/// A part of the memory, in Firecracker's words.
#[derive(Debug, Serialize)]
struct Part {
    base_host_virt_addr: u64,
    size: u64,
    offset: u64,
    page_size: u64,
    page_size_kib: u64,
}

/// Who fills memory, and what the kernel has for it.
#[derive(Debug)]
pub(crate) struct Handler {
    /// The way to the other process.
    pub(crate) socket: OwnedFd,
    /// `/dev/userfaultfd`.
    pub(crate) device: OwnedFd,
}

/// Faults that the other process sees to. As long as this is there none of them is seen to by the kernel, with zeros; and by the end
/// of the connection the other process knows that it is not.
#[derive(Debug)]
pub(crate) struct Faults {
    _faults: OwnedFd,
    _socket: OwnedFd,
}

impl Handler {
    /// Leaves all faults in some memory, which nobody has touched yet, to the other process.
    ///
    /// # Errors
    /// The host's answer.
    pub(crate) fn take_over(&self, memory: &GuestMemory) -> io::Result<Faults> {
        let faults = self.open()?;
        let mut parts = Vec::new();
        let mut offset = 0;
        for region in memory.iter() {
            let start = region.as_ptr() as u64;
            let mut register = Register {
                start,
                length: region.len(),
                mode: MISSING,
                ioctls: 0,
            };
            // SAFETY: the structure is what this ioctl reads and writes; the range is a mapping of the guest's memory, which nobody
            // relies on to be zero.
            let done = unsafe { libc::ioctl(faults.as_raw_fd(), REGISTER, &raw mut register) };
            if done < 0 {
                return Err(io::Error::last_os_error());
            }
            let page_size = match region.is_hugetlbfs() {
                Some(true) => 2 << 20,
                _ => 4096,
            };
            parts.push(Part {
                base_host_virt_addr: start,
                size: region.len(),
                offset,
                page_size,
                page_size_kib: page_size,
            });
            offset += region.len();
        }
        let told = serde_json::to_vec(&parts)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let fds = [faults.as_fd()];
        rights.push(SendAncillaryMessage::ScmRights(&fds));
        let sent = sendmsg(
            &self.socket,
            &[IoSlice::new(&told)],
            &mut rights,
            SendFlags::NOSIGNAL,
        )?;
        if sent < told.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(Faults {
            _faults: faults,
            _socket: self.socket.try_clone()?,
        })
    }

    fn open(&self) -> io::Result<OwnedFd> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: the ioctl takes flags and makes a descriptor.
        let fd = unsafe { libc::ioctl(self.device.as_raw_fd(), NEW, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and is nobody else's.
        let faults = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut api = Api {
            api: VERSION,
            features: REMOVALS,
            ioctls: 0,
        };
        // SAFETY: the structure is what this ioctl reads and writes.
        let done = unsafe { libc::ioctl(faults.as_raw_fd(), API, &raw mut api) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(faults)
    }
}
