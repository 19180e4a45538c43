//! Device requests that `rustix` has no function for.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use super::exec::last_error;

// `linux/random.h`: _IOW('R', 3, int[2]) and _IO('R', 7).
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// The most bytes that [`add_entropy`] takes.
pub(crate) const MAX_ENTROPY: usize = 512;

#[repr(C)]
struct PoolInfo {
    bits: libc::c_int,
    bytes: libc::c_int,
    data: [u8; MAX_ENTROPY],
}

/// Adds `data` to the kernel's pool as true randomness, and makes the generator use it now.
pub(crate) fn add_entropy(random: &impl AsFd, data: &[u8]) -> Result<(), Errno> {
    let length = libc::c_int::try_from(data.len()).map_err(|_| Errno::INVAL)?;
    let mut info = PoolInfo {
        bits: length * 8,
        bytes: length,
        data: [0; MAX_ENTROPY],
    };
    info.data
        .get_mut(..data.len())
        .ok_or(Errno::INVAL)?
        .copy_from_slice(data);
    let random = random.as_fd().as_raw_fd();
    // SAFETY: the kernel reads `bytes` bytes of `data`, which has at least so many.
    check(unsafe { libc::ioctl(random, RNDADDENTROPY, &raw const info) })?;
    // SAFETY: takes no argument.
    check(unsafe { libc::ioctl(random, RNDRESEEDCRNG, 0) })
}

/// Brings the network interface `lo` up; the kernel gives it its addresses.
pub(crate) fn bring_loopback_up(socket: &impl AsFd) -> Result<(), Errno> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel reads an `ifreq`.
    check(unsafe {
        libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &raw const request,
        )
    })
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 {
        Err(last_error())
    } else {
        Ok(())
    }
}
