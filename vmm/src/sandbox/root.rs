//! An empty root directory, and what is needed of `/proc`: by a share's server its own descriptors, by snapshots which pages are in use.
//!
//! The mounts are made by the calls of Linux 5.2 (`fsopen`, `fsmount`), which need no directory of the host to work in.

use std::fs::File;
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

/// What the process needs of `/proc`.
#[derive(Debug)]
pub(super) struct Own {
    /// `/proc/self/fd`.
    pub(super) descriptors: OwnedFd,
    /// `/proc/self/pagemap`, which says which pages of its memory are in use, where the kernel has it.
    pub(super) pagemap: io::Result<File>,
    /// What both are in, and nothing more than one reaches from them. A mount that is nowhere goes with its last descriptor, and whoever
    /// closes that waits until all processors of the host have taken note: 13 ms on a busy one.
    _proc: OwnedFd,
}

/// Of a `/proc` that is nowhere mounted and has the processes of this namespace only, and no setting of the host: who gets
/// hold of a share's thread, which may read and write everything, must not find those. The PID namespace must be new.
///
/// # Errors
/// The host's answer.
pub(super) fn own() -> io::Result<Own> {
    of(mount("proc", &[("subset", "pid")])?)
}

/// Of the host's `/proc`.
///
/// # Errors
/// The host's answer.
pub(super) fn of_host() -> io::Result<Own> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    of(openat(CWD, "/proc", flags, Mode::empty())?)
}

fn of(proc: OwnedFd) -> io::Result<Own> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptors = openat(&proc, "self/fd", directory, Mode::empty())?;
    let file = OFlags::RDONLY | OFlags::CLOEXEC;
    let pagemap = openat(&proc, "self/pagemap", file, Mode::empty());
    Ok(Own {
        descriptors,
        pagemap: pagemap.map(File::from).map_err(io::Error::from),
        _proc: proc,
    })
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
