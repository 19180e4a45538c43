//! Memory that another process fills, a page when somebody first touches it.
//!
//! The other process gets the descriptor of the faults, with a line of JSON that says which addresses are which part of the
//! memory's file, as Firecracker has it. It is as trusted as a file would be: what it puts there is the guest's memory.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use hull_devices::GuestMemory;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::userfault::Userfault;

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
    _faults: Userfault,
    _socket: OwnedFd,
}

impl Handler {
    /// Leaves all faults in some memory, which nobody has touched yet, to the other process.
    ///
    /// # Errors
    /// The host's answer.
    pub(crate) fn take_over(&self, memory: &GuestMemory) -> io::Result<Faults> {
        let faults = Userfault::new(&self.device)?;
        let mut parts = Vec::new();
        let mut offset = 0;
        for region in memory.iter() {
            let addresses = faults.register(region)?;
            let page_size = match region.is_hugetlbfs() {
                Some(true) => 2 << 20,
                _ => 4096,
            };
            parts.push(Part {
                base_host_virt_addr: addresses.start,
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
}
