//! Sockets between guest and host.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::exec::last_error;

/// Begins to connect to `port` of the host. The socket is writable when it is connected.
pub(crate) fn connect_to_host(port: u32) -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    let address = address(libc::VMADDR_CID_HOST, port);
    // SAFETY: `address` is a `sockaddr_vm` of the length that is given.
    let result =
        unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), ADDRESS_LEN) };
    match result {
        0 => Ok(socket),
        _ => match last_error() {
            Errno::INPROGRESS => Ok(socket),
            error => Err(error),
        },
    }
}

/// Listens on `port` for connections from the host.
pub(crate) fn listen(port: u32) -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    let address = address(libc::VMADDR_CID_ANY, port);
    // SAFETY: `address` is a `sockaddr_vm` of the length that is given.
    unsafe {
        if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), ADDRESS_LEN) != 0
            || libc::listen(socket.as_raw_fd(), 64) != 0
        {
            return Err(last_error());
        }
    }
    Ok(socket)
}

/// Takes a connection. One that a process of this machine made is refused: only the host may ask
/// the agent for anything.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut peer = address(0, 0);
    let mut length = ADDRESS_LEN;
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the kernel writes at most `length` bytes of `peer`; a non-negative result is a new
    // descriptor that nobody else owns.
    let socket = unsafe {
        let peer = (&raw mut peer).cast();
        match libc::accept4(listener.as_raw_fd(), peer, &raw mut length, flags) {
            fd if fd >= 0 => OwnedFd::from_raw_fd(fd),
            _ => return Err(last_error()),
        }
    };
    if peer.svm_cid == libc::VMADDR_CID_HOST {
        Ok(socket)
    } else {
        Err(Errno::ACCESS)
    }
}

#[allow(clippy::cast_possible_truncation)]
const ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_vm>() as libc::socklen_t;

fn socket() -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a non-negative result is a new descriptor that nobody else owns.
    unsafe {
        match libc::socket(libc::AF_VSOCK, kind, 0) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(last_error()),
        }
    }
}

fn address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: all zeroes is a valid `sockaddr_vm`.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_family = family;
    address.svm_cid = cid;
    address.svm_port = port;
    address
}
