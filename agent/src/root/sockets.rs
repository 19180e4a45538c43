//! Sockets of the host: a socket of the guest's in their place, behind which there is a relay.

use std::os::fd::OwnedFd;

use hull_agent_protocol::{FailureKind, HostSocket};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chmodat, chownat, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::{inside, shares};
use crate::failure::{Explain, Result};
use crate::places::Places;
use crate::relay;

/// Connections that wait for the relay.
const BACKLOG: i32 = 64;

pub(super) fn mount_socket(
    places: &Places,
    root: &OwnedFd,
    target: &str,
    socket: &HostSocket,
) -> Result<()> {
    let failed = || format!("mount a socket on {target}");
    let (listener, file) = make(places, socket).explain(FailureKind::Mount, failed)?;
    let place = inside::file(root, target)?;
    shares::mount_part(&file, &place).explain(FailureKind::Mount, failed)?;
    relay::start(listener, socket.port)
}

/// A socket that listens, and its file, with the owner and mode that the host's has.
fn make(places: &Places, socket: &HostSocket) -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    let path = places.file(&format!("socket-{}", socket.port));
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&listener, &SocketAddrUnix::new(&path)?)?;
    let (uid, gid) = (Uid::from_raw(socket.uid), Gid::from_raw(socket.gid));
    chownat(CWD, &path, Some(uid), Some(gid), AtFlags::empty())?;
    let mode = Mode::from_raw_mode(socket.mode & 0o777);
    chmodat(CWD, &path, mode, AtFlags::empty())?;
    listen(&listener, BACKLOG)?;
    let file = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok((listener, file))
}
