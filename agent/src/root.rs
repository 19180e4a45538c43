//! The container's root: the image below, the writable disk above, and what every container finds
//! in it. All mounts that do not belong to one namespace are made here, once, in the agent's own
//! mount namespace; each process gets a copy of them by `clone`.

mod copy;
mod devices;
mod files;
mod fill;
mod inside;
mod mounts;
mod overlay;
mod run;
mod shares;
mod sockets;
mod tmpfs;
mod volumes;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_agent_protocol::{Configure, FailureKind, Identity, Mount};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::process::{chdir, fchdir};

pub(crate) use devices::make as make_devices;
pub(crate) use files::{replace_hosts, replace_resolv_conf};
pub(crate) use inside::{make_directory, resolve};

use crate::failure::{Explain, Result};
use crate::places::Places;

/// The container's root directory, complete.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
    /// The kernel may not be asked to create anything for a process that runs beside another.
    pub(crate) read_only: bool,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Puts the container's root together.
pub(crate) fn compose(places: &Places, configure: &Configure) -> Result<Root> {
    overlay::mount_root(places, &configure.root)?;
    let path = places.container();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, &path, flags, Mode::empty())
        .explain(FailureKind::Mount, || "open the container's root".into())?;

    inside::directory(&directory, "proc")?;
    run::mount_run(places, &directory)?;
    devices::attach(places, &directory)?;
    mount_sys(&directory, configure.privileged)?;
    if let Some(size) = configure.shm_size {
        set_shm_size(places, size)?;
    }
    mounts::mount_all(places, &directory, &configure.mounts)?;
    files::mount_files(places, &directory, &configure.identity, &configure.mounts)?;
    leave()?;
    Ok(Root {
        directory,
        read_only: configure.root.read_only,
    })
}

/// Mounts more in a root in which nothing runs.
pub(crate) fn mount_more(places: &Places, root: &Root, mounts: &[Mount]) -> Result<()> {
    if mounts.is_empty() {
        return Ok(());
    }
    mounts::mount_all(places, &root.directory, mounts)?;
    leave()
}

/// Gives the files of an identity, which are mounted, the contents of another. `mounts` have been made since.
pub(crate) fn identify(
    places: &Places,
    root: &Root,
    identity: &Identity,
    mounts: &[Mount],
) -> Result<()> {
    if mounts::cover_files(mounts) {
        files::mount_files(places, &root.directory, identity, mounts)
    } else {
        files::identify(places, identity)
    }
}

/// Gives the container's shared memory another size.
pub(crate) fn set_shm_size(places: &Places, bytes: u64) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // The agent's own mounts, in which the image has nothing.
    let path = places.container().join("dev/shm");
    mount_remount(&path, flags, format!("size={bytes}")).explain(FailureKind::Mount, || {
        format!("give /dev/shm {bytes} bytes")
    })
}

/// A working directory inside would keep the disk busy at the end.
fn leave() -> Result<()> {
    chdir("/").explain(FailureKind::System, || "go back to the agent's root".into())
}

fn mount_sys(root: &OwnedFd, writable: bool) -> Result<()> {
    let target = inside::directory(root, "sys")?.directory;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if !writable {
        flags |= MountFlags::RDONLY;
    }
    mount_on(&target, "sysfs", flags, "").explain(FailureKind::Mount, || "mount /sys".into())
}

/// Mounts a new file system of type `kind` on an open directory.
///
/// The target is the working directory and not a path, so that nothing the image holds (a symbolic
/// link, say) can lead the mount elsewhere.
fn mount_on(target: &OwnedFd, kind: &str, flags: MountFlags, data: &str) -> rustix::io::Result<()> {
    fchdir(target)?;
    let data = std::ffi::CString::new(data).map_err(|_| rustix::io::Errno::INVAL)?;
    mount(kind, ".", kind, flags, data.as_c_str())
}
