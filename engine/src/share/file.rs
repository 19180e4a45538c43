//! A directory in which a file of the host is alone. virtio-fs shares directories, and a guest that may see one file is not to see
//! those beside it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, OpenTreeFlags, mount, mount_bind, mount_change, open_tree,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// A file system in memory, which is in no name space, with the file mounted as `name` in it. It lives as long as it is open, and no
/// crash leaves anything of it.
///
/// # Errors
/// Only root may mount.
pub(super) fn alone(file: &Path, name: &str) -> io::Result<OwnedFd> {
    // A thread of its own, since it leaves this process's name space for ever.
    thread::scope(|scope| {
        let made = scope.spawn(|| make(file, name)).join();
        made.unwrap_or_else(|_| Err(io::Error::other("the thread that mounts it panicked")))
    })
}

fn make(file: &Path, name: &str) -> io::Result<OwnedFd> {
    leave()?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    // Now, as it is a file of this name space, and before anything lies over it.
    let file = openat(CWD, file, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // Any directory will do: nobody else sees what is mounted on it.
    let place = Path::new("/tmp");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("hull", place, "tmpfs", flags, Some(c"size=64k,mode=755"))?;
    let target = place.join(name);
    File::create(&target)?;
    mount_bind(own(&file), &target)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, place, flags)?)
}

/// The file itself, whatever has its name by now.
fn own(file: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Gives the calling thread a name space of mounts of its own.
#[allow(unsafe_code)]
fn leave() -> io::Result<()> {
    // SAFETY: the thread shares its working directory with no other any more, and uses neither that nor descriptors by number.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
    Ok(())
}
