//! TAP devices by name, as `host_dev_name` has them (Linux, `Documentation/networking/tuntap.rst`).
//!
//! Both who runs a microVM and who hands one its descriptors open them so. The kernel makes what is not there, for those who may,
//! and gives one number for several reasons; here a name that was mistyped is an error, and each reason has its sentence.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

const TUN: &str = "/dev/net/tun";

/// A TAP device that cannot be used. It is plain data: whoever opens one may be another process than whoever tells.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TapError {
    /// No interface has this name.
    #[error("there is no TAP device {0}: make it with ip tuntap add {0} mode tap")]
    Missing(String),
    /// An interface of another kind.
    #[error("the network interface {0} is no TAP device; ip tuntap list shows which there are")]
    NoTap(String),
    /// Another process has it.
    #[error(
        "the TAP device {0} is in use: busy with the process that has it open, such as another microVM"
    )]
    InUse(String),
    /// It was made for one process with one queue.
    #[error(
        "the TAP device {0} was made with one queue: ask for one, or make it with \
         ip tuntap add {0} mode tap multi_queue"
    )]
    OneQueue(String),
    /// It is another user's.
    #[error(
        "this user may not use the TAP device {0}: make it with ip tuntap add {0} mode tap user NAME, or run with CAP_NET_ADMIN"
    )]
    Denied(String),
    /// TAP devices cannot be had at all.
    #[error("/dev/net/tun cannot be opened ({}); sudo modprobe tun makes it where it is missing", said(*.0))]
    NoTun(i32),
    /// What else the host says.
    #[error("the host does not give the TAP device {name}: {}", said(*.number))]
    Host {
        /// Its name.
        name: String,
        /// Why: the number of the error.
        number: i32,
    },
}

/// Opens so many queues of a TAP that exists: non-blocking, with a `virtio_net_hdr` before each frame and no packet information.
///
/// # Errors
/// Why they cannot be had.
pub fn open(name: &str, queues: u8) -> Result<Vec<OwnedFd>, TapError> {
    (0..queues).map(|_| open_queue(name, queues > 1)).collect()
}

/// Opens one more queue of a TAP that exists, which is to have several if `many` says so.
///
/// # Errors
/// Why it cannot be had.
pub fn open_queue(name: &str, many: bool) -> Result<OwnedFd, TapError> {
    if !exists(name) {
        return Err(TapError::Missing(name.to_owned()));
    }
    let queue = tun()?;
    match attach(&queue, name, many) {
        Ok(()) => Ok(queue.into()),
        // It has not this number of queues, or is something else: which, the other way of asking tells.
        Err(libc::EINVAL) => {
            let other = tun()?;
            match attach(&other, name, !many) {
                Err(libc::EINVAL) => Err(TapError::NoTap(name.to_owned())),
                _ if many => Err(TapError::OneQueue(name.to_owned())),
                // One that was made for several does with one.
                Ok(()) => Ok(other.into()),
                Err(number) => Err(TapError::host(name, number)),
            }
        }
        Err(number) => Err(TapError::host(name, number)),
    }
}

impl TapError {
    /// What the host said.
    #[must_use]
    pub fn host(name: &str, number: i32) -> Self {
        let name = name.to_owned();
        match number {
            libc::EBUSY => Self::InUse(name),
            libc::EPERM | libc::EACCES => Self::Denied(name),
            number => Self::Host { name, number },
        }
    }
}

fn said(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Whether there is an interface of this name, of whatever kind.
fn exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: the name ends with a zero and lives through the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

fn tun() -> Result<File, TapError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = options.custom_flags(libc::O_NONBLOCK).open(TUN);
    file.map_err(|error| TapError::NoTun(number(&error)))
}

/// Makes the descriptor a queue of the TAP; the number of the error.
fn attach(file: &File, name: &str, many: bool) -> Result<(), i32> {
    // SAFETY: plain data, for which all zeros is an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let bytes = name.bytes().take(request.ifr_name.len() - 1);
    for (place, byte) in request.ifr_name.iter_mut().zip(bytes) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if many {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or_default();
    // SAFETY: the structure is what this ioctl reads and writes, and lives through the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(number(&io::Error::last_os_error()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
