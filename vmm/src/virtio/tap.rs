//! Opening TAP devices by name (Linux, `Documentation/networking/tuntap.rst`).

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use hull_devices::net::Tap;
use hull_vm_api::config::{HostPath, NetworkInterface};

use crate::error::StartError;
use crate::files::{Access, Files};

const TUN: &str = "/dev/net/tun";

/// The descriptors of an interface, one for each pair of queues.
///
/// Of `fd:NAME`, the others are `fd:NAME.1`, `fd:NAME.2` and so on.
pub(super) fn open(interface: &NetworkInterface, files: &Files) -> Result<Vec<Tap>, StartError> {
    let name = &interface.host_dev_name;
    let many = interface.queues > 1;
    let open = |index: u8| {
        let fd: OwnedFd = match name.as_fd() {
            Some(fd) => {
                let path = if index == 0 {
                    name.clone()
                } else {
                    HostPath::fd(&format!("{fd}.{index}"))
                };
                let what = "network-interfaces.host_dev_name";
                files.open(what, &path, Access::ReadWrite)?.into()
            }
            None => attach(name.as_str(), many).map_err(|source| StartError::Tap {
                name: name.to_string(),
                source,
            })?,
        };
        Tap::new(fd).map_err(|source| StartError::Net {
            id: interface.iface_id.clone(),
            source: source.into(),
        })
    };
    (0..interface.queues).map(open).collect()
}

/// Opens a queue of the TAP `name`, which is made if it is not there and this process may.
fn attach(name: &str, many: bool) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file: File = options.custom_flags(libc::O_NONBLOCK).open(TUN)?;
    // SAFETY: plain data, for which all zeros is an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.bytes().take(request.ifr_name.len() - 1);
    for (place, byte) in request.ifr_name.iter_mut().zip(bytes) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if many {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the structure is what this ioctl reads and writes, and lives through the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}
