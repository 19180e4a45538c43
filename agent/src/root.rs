//! The container's root: the image below, the writable disk above, and what every container finds
//! in it. All mounts that do not belong to one namespace are made here, once, in the agent's own
//! mount namespace; each process gets a copy of them by `clone`.

mod copy;
mod devices;
mod files;
mod inside;
mod overlay;
mod run;
mod tmpfs;
mod volumes;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_agent_protocol::{Configure, FailureKind};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, mount};
use rustix::process::{chdir, fchdir};

pub(crate) use devices::make as make_devices;
pub(crate) use files::identify;
pub(crate) use inside::make_directory;

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
    for volume in &configure.volumes {
        volumes::mount_volume(places, &directory, volume)?;
    }
    for tmpfs in &configure.tmpfs {
        tmpfs::mount_tmpfs(&directory, tmpfs)?;
    }
    files::mount_files(places, &directory, &configure.identity)?;
    // A working directory inside would keep the disk busy at the end.
    chdir("/").explain(FailureKind::System, || "go back to the agent's root".into())?;
    Ok(Root {
        directory,
        read_only: configure.root.read_only,
    })
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
