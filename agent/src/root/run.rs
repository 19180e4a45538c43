//! `/run`: in memory, because what programs keep there (pids, sockets, locks) means nothing in the next start of a
//! container that is kept. It begins as what the image has there, which programs rely on.

use std::os::fd::OwnedFd;

use hull_agent_protocol::FailureKind;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, mount, move_mount};

use super::{copy, inside, overlay};
use crate::failure::{Explain, Result};
use crate::places::Places;

/// Mounts it; see [`Places::run`].
pub(super) fn mount_run(places: &Places, root: &OwnedFd) -> Result<()> {
    let target = inside::directory(root, "run")?.directory;
    let source = places
        .container()
        .join(inside::resolve(root, "run")?.join("/"));
    overlay::make(&places.run(), 0o755)?;
    let mounted = || -> std::result::Result<(), Errno> {
        // Filled before it covers what it is filled from.
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", places.run(), "tmpfs", flags, c"mode=755")?;
        copy::copy_into(&source, &places.run())?;
        let flags = MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(CWD, places.run(), &target, "", flags)
    };
    mounted().explain(FailureKind::Mount, || "mount /run".into())
}
