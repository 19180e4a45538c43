//! The container's `/dev`, as Docker makes it. Made before the engine has said anything, and moved
//! into the root when there is one.

use std::os::fd::OwnedFd;

use hull_agent_protocol::FailureKind;
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, mount, move_mount};

use super::{inside, mount_on, overlay};
use crate::failure::{Explain, Result};
use crate::places::Places;

/// Character devices that everybody may use, with their numbers.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Makes the devices at [`Places::devices`].
pub(crate) fn make(places: &Places) -> Result<()> {
    overlay::make(&places.devices(), 0o755)?;
    make_all(places).explain(FailureKind::Mount, || "make the container's /dev".into())
}

fn make_all(places: &Places) -> std::result::Result<(), Errno> {
    let path = places.devices();
    let flags = MountFlags::NOSUID | MountFlags::STRICTATIME;
    mount("tmpfs", &path, "tmpfs", flags, c"mode=755,size=65536k")?;
    let dev = openat(
        CWD,
        &path,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for (name, major, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(
            &dev,
            name,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )?;
    }
    for (target, name) in LINKS {
        symlinkat(target, &dev, name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    let open = |name| openat(&dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_on(
        &open("pts")?,
        "devpts",
        flags,
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    )?;
    let flags = flags | MountFlags::NODEV;
    mount_on(&open("shm")?, "tmpfs", flags, "mode=1777,size=65536k")
}

/// Moves the devices to the container's `/dev`.
pub(super) fn attach(places: &Places, root: &OwnedFd) -> Result<()> {
    let target = inside::directory(root, "dev")?.directory;
    let flags = MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(CWD, places.devices(), &target, "", flags)
        .explain(FailureKind::Mount, || "mount /dev".into())
}
