//! TAPs: the kernel's end of a guest's network interface (Linux, Documentation/networking/tuntap.rst).
//!
//! A TAP lives for as long as one of its descriptors is open, so nothing is left of it when the microVM and its owner are gone.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::{EndpointId, Error, MacAddress, Owner};

const DEVICE: &str = "/dev/net/tun";

// linux/if_tun.h: _IOW('T', number, int).
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETOWNER: libc::Ioctl = 0x4004_54cc;
const TUNSETGROUP: libc::Ioctl = 0x4004_54ce;

/// Makes the TAP `name` and opens each of its queues, non-blocking; frames carry a `virtio_net_hdr`, no packet information.
pub(crate) fn create(name: &str, queues: u16, owner: Owner) -> Result<Vec<OwnedFd>, Error> {
    let failed = || Error::kernel(format!("create TAP {name} with {queues} queues"));
    let queues = (0..queues).map(|_| open_queue(name, queues > 1));
    let queues: Vec<File> = queues.collect::<Result<_, _>>()?;
    if let Some(first) = queues.first() {
        if let Some(uid) = owner.uid {
            set(first, TUNSETOWNER, uid).map_err(failed())?;
        }
        if let Some(gid) = owner.gid {
            set(first, TUNSETGROUP, gid).map_err(failed())?;
        }
    }
    Ok(queues.into_iter().map(OwnedFd::from).collect())
}

/// Makes a TAP that is in no network, for an interface whose cable is not plugged in.
pub(crate) fn loose(queues: u16) -> Result<Vec<OwnedFd>, Error> {
    let random = MacAddress::random().map_err(Error::kernel("read /dev/urandom"))?;
    let [.., a, b, c, d] = random.octets();
    let name = format!("hullx{:08x}", u32::from_ne_bytes([a, b, c, d]));
    create(&name, queues, Owner::default())
}

/// Makes a TAP that is in no network, for an endpoint that it may come to: its identifier, a MAC address, and the queue.
pub(crate) fn spare() -> Result<(EndpointId, MacAddress, OwnedFd), Error> {
    let random = |error| Error::io("read", "/dev/urandom")(error);
    let (id, mac) = (
        EndpointId::random().map_err(random)?,
        MacAddress::random().map_err(random)?,
    );
    let name = id.tap();
    let queue = open_queue(&name, false)?;
    Ok((id, mac, queue.into()))
}

fn open_queue(name: &str, is_multi_queue: bool) -> Result<File, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::invalid(
                format!("there is no {DEVICE}"),
                "load its module: sudo modprobe tun",
            ),
            _ => Error::kernel(format!("open {DEVICE}"))(error),
        })?;
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if is_multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: i16::try_from(flags).unwrap_or_default(),
        },
    };
    // The last byte stays zero: names of Hull's interfaces are shorter.
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(name.bytes())
    {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is, for the length of the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    check(result).map_err(Error::kernel(format!("create TAP {name}")))?;
    Ok(file)
}

fn set(tap: &File, request: libc::Ioctl, value: u32) -> io::Result<()> {
    // SAFETY: TUNSETOWNER and TUNSETGROUP take a number, by value.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), request, libc::c_ulong::from(value)) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
