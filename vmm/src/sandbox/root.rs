//! An empty root directory, and the one thing of a file system that a share's server needs: its own descriptors.
//!
//! The mounts are made by the calls of Linux 5.2 (`fsopen`, `fsmount`), which need no directory of the host to work in.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, unmount,
};
use rustix::process::{fchdir, pivot_root};

/// Puts an empty directory that cannot be written in the place of `/`, and all else out of reach. The mount namespace must be new.
///
/// # Errors
/// The host's answer.
pub(super) fn empty() -> io::Result<()> {
    // Otherwise what is done here would be done outside as well.
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let root = mount(
        "tmpfs",
        &[("size", "4096"), ("nr_inodes", "1"), ("mode", "0555")],
    )?;
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    fchdir(&root)?;
    // The old root lies over the new one then (`pivot_root(2)`, NOTES), and is taken away.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// `/proc/self/fd` of a `/proc` that is nowhere mounted and has the processes of this namespace only, and no setting of the host: who gets
/// hold of a share's thread, which may read and write everything, must not find those. The PID namespace must be new.
///
/// # Errors
/// The host's answer.
pub(super) fn own_descriptors() -> io::Result<OwnedFd> {
    let proc = mount("proc", &[("subset", "pid")])?;
    open(&proc, "self/fd")
}

/// `/proc/self/fd` of the host's `/proc`.
///
/// # Errors
/// The host's answer.
pub(super) fn host_descriptors() -> io::Result<OwnedFd> {
    open(CWD, "/proc/self/fd")
}

fn open(at: impl std::os::fd::AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

/// A file system that is mounted nowhere yet.
fn mount(kind: &str, options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value)?;
    }
    fsconfig_create(&context)?;
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, read_only)?)
}
