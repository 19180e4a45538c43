//! A TAP descriptor, and the ioctls that it needs (Linux, `Documentation/networking/tuntap.rst`).
//!
//! Whoever made it chose its name and flags; here it is checked, and told what frames look like.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6,
};

use super::config::has;
use super::frame::HEADER;

/// Whether a descriptor takes part in its interface's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    Attached,
    Detached,
}

/// Why a descriptor can't be a network interface's.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// It is something else.
    #[error(
        "the descriptor is no TAP, or belongs to no interface: open /dev/net/tun and use TUNSETIFF"
    )]
    NoTap(#[source] io::Error),
    /// It was made with other flags.
    #[error(
        "the TAP was made with the flags {flags:#x}: make it with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR"
    )]
    Flags {
        /// What TUNGETIFF says.
        flags: i16,
    },
    /// Several descriptors need IFF_MULTI_QUEUE.
    #[error("a TAP with several descriptors must be made with IFF_MULTI_QUEUE")]
    SingleQueue,
    /// The kernel refused a setting.
    #[error("the TAP does not take {what}")]
    Setting {
        /// What it did not take.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// One queue of a TAP.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Single,
    Multi,
    /// A socket that keeps messages apart, in place of a TAP.
    #[cfg(any(test, fuzzing))]
    Socket,
}

impl Tap {
    /// Takes an open TAP: `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`, with `IFF_MULTI_QUEUE` if there are several descriptors.
    /// It is made non-blocking.
    ///
    /// # Errors
    /// [`TapError`] if it is something else.
    pub fn new(fd: OwnedFd) -> Result<Self, TapError> {
        let flags = interface_flags(fd.as_fd()).map_err(TapError::NoTap)?;
        let is = |flag: i32| i32::from(flags) & flag != 0;
        if !is(libc::IFF_TAP) || !is(libc::IFF_NO_PI) || !is(libc::IFF_VNET_HDR) {
            return Err(TapError::Flags { flags });
        }
        let kind = if is(libc::IFF_MULTI_QUEUE) {
            Kind::Multi
        } else {
            Kind::Single
        };
        let tap = Self { fd, kind };
        tap.set_nonblocking()
            .and_then(|()| tap.set_header_size())
            .map_err(setting("non-blocking access and virtio's header"))?;
        Ok(tap)
    }

    /// A socket that keeps messages apart, in place of a TAP.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn socket(fd: OwnedFd) -> Self {
        Self {
            fd,
            kind: Kind::Socket,
        }
    }

    /// Whether several of them can be one interface.
    pub(super) fn is_multi_queue(&self) -> bool {
        self.kind != Kind::Single
    }

    /// Whether the kernel knows UDP segmentation. Changes what is offloaded.
    pub(super) fn knows_uso(&self) -> bool {
        self.offload(libc::TUN_F_CSUM | libc::TUN_F_USO4 | libc::TUN_F_USO6)
            .is_ok()
    }

    /// What the guest takes unfinished, by the features that it negotiated: checksums to fill in, frames to segment.
    pub(super) fn set_offloads(&self, guest: u64) -> Result<(), TapError> {
        let wants = |bit: u32, flag: u32| if has(guest, bit) { flag } else { 0 };
        let segments = wants(VIRTIO_NET_F_GUEST_TSO4, libc::TUN_F_TSO4)
            | wants(VIRTIO_NET_F_GUEST_TSO6, libc::TUN_F_TSO6)
            | wants(VIRTIO_NET_F_GUEST_ECN, libc::TUN_F_TSO_ECN)
            | wants(VIRTIO_NET_F_GUEST_USO4, libc::TUN_F_USO4)
            | wants(VIRTIO_NET_F_GUEST_USO6, libc::TUN_F_USO6);
        // Who can't fill in checksums can't segment either.
        let flags = if has(guest, VIRTIO_NET_F_GUEST_CSUM) {
            libc::TUN_F_CSUM | segments
        } else {
            0
        };
        self.offload(flags).map_err(setting("the guest's offloads"))
    }

    /// Lets the queue take part in its interface's traffic, or no longer. Of a single one that is always so.
    pub(super) fn set_queue(&self, queue: Queue) -> Result<(), TapError> {
        if self.kind != Kind::Multi {
            return Ok(());
        }
        let flag = match queue {
            Queue::Attached => libc::IFF_ATTACH_QUEUE,
            Queue::Detached => libc::IFF_DETACH_QUEUE,
        };
        let mut request = no_request();
        request.ifr_ifru.ifru_flags = i16::try_from(flag).unwrap_or(0);
        // SAFETY: the kernel reads an `ifreq`, and the pointer is to one.
        let result =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TUNSETQUEUE, &raw const request) };
        match done(result) {
            // It is as it should be already.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result.map_err(setting("another number of queues")),
        }
    }

    fn offload(&self, flags: u32) -> io::Result<()> {
        #[cfg(any(test, fuzzing))]
        if self.kind == Kind::Socket {
            return Ok(());
        }
        // SAFETY: this ioctl's argument is a number.
        done(unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::TUNSETOFFLOAD,
                libc::c_ulong::from(flags),
            )
        })
    }

    fn set_header_size(&self) -> io::Result<()> {
        let size = libc::c_int::try_from(HEADER).unwrap_or(0);
        // SAFETY: the kernel reads an `int`, and the pointer is to one.
        done(unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.fd)?;
        rustix::fs::fcntl_setfl(&self.fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn interface_flags(fd: BorrowedFd<'_>) -> io::Result<i16> {
    let mut request = no_request();
    // SAFETY: the kernel fills an `ifreq`, and the pointer is to one.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    // SAFETY: the kernel has set this member.
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

fn no_request() -> libc::ifreq {
    // SAFETY: all-zero is a request with an empty name.
    unsafe { std::mem::zeroed() }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn setting(what: &'static str) -> impl Fn(io::Error) -> TapError {
    move |source| TapError::Setting { what, source }
}
