//! Namespaces of Linux (`namespaces(7)`), all but those in which the process was made.

#![allow(unsafe_code)]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// What is left of the name of the host.
const HOST_NAME: &[u8] = b"hull";

/// Enters a mount, IPC, network, host name and cgroup namespace of its own.
///
/// # Errors
/// The host's answer.
pub(super) fn enter() -> io::Result<()> {
    let flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    // SAFETY: no flag concerns the table of descriptors, which is all that this could be unsafe for.
    unsafe { unshare_unsafe(flags)? };
    rustix::system::sethostname(HOST_NAME)?;
    Ok(())
}
