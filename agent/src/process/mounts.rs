//! What the first process of a container mounts in its own namespaces, once its root is `/`. The
//! paths are taken from inside, so that links in the image lead nowhere else.

use std::ffi::CStr;

use hull_agent_protocol::FailureKind;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_move, mount_remount};
use rustix::process::{chdir, chroot};

use super::spawn::Container;
use super::sysctl;
use crate::failure::{Explain, Result};
use crate::sys::exec::unshare_cgroup;

/// What Docker hides: a file behind `/dev/null`, a directory behind an empty one.
const MASKED: [(&str, Kind); 12] = [
    ("/proc/kcore", Kind::File),
    ("/proc/keys", Kind::File),
    ("/proc/timer_list", Kind::File),
    ("/proc/timer_stats", Kind::File),
    ("/proc/latency_stats", Kind::File),
    ("/proc/sched_debug", Kind::File),
    ("/proc/interrupts", Kind::File),
    ("/proc/acpi", Kind::Directory),
    ("/proc/asound", Kind::Directory),
    ("/proc/scsi", Kind::Directory),
    ("/sys/firmware", Kind::Directory),
    ("/sys/devices/virtual/powercap", Kind::Directory),
];

/// What Docker lets a container read only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Settings of the kernel that Docker gives every container: anyone may use low ports and ping.
const SETTINGS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    File,
    Directory,
}

/// Makes the container's root the root of this process, and completes it.
pub(super) fn enter(container: &Container<'_>, terminal: Option<&CStr>) -> Result<()> {
    let failed = |what: &'static str| move || what.to_owned();
    enter_root(container).explain(FailureKind::Mount, failed("enter the container's root"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None)
        .explain(FailureKind::Mount, failed("mount /proc"))?;
    match mount("mqueue", "/dev/mqueue", "mqueue", flags, None) {
        // A kernel without message queues.
        Ok(()) | Err(Errno::NODEV) => {}
        Err(error) => Err(error).explain(FailureKind::Mount, failed("mount /dev/mqueue"))?,
    }
    if container.cgroup.is_some() {
        mount_cgroup(container).explain(FailureKind::Mount, failed("mount /sys/fs/cgroup"))?;
    }
    if let Some(terminal) = terminal {
        mount_console(terminal).explain(FailureKind::Mount, failed("mount /dev/console"))?;
    }
    for (path, value) in SETTINGS {
        // Missing when the kernel has no IPv4.
        let _ = write(path, value);
    }
    sysctl::set(container.sysctls)?;
    if !container.privileged {
        restrict().explain(FailureKind::Mount, failed("restrict /proc and /sys"))?;
    }
    if container.root.read_only {
        mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, "")
            .explain(FailureKind::Mount, failed("make the root read-only"))?;
    }
    Ok(())
}

/// The root of a mount namespace that began in an initramfs cannot be exchanged (`pivot_root`), but
/// covered, as `switch_root` does.
fn enter_root(container: &Container<'_>) -> std::result::Result<(), Errno> {
    let path = container.places.container();
    chdir(&path)?;
    mount_move(&path, "/")?;
    chroot(".")?;
    chdir("/")
}

fn mount_cgroup(container: &Container<'_>) -> std::result::Result<(), Errno> {
    unshare_cgroup()?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if !container.privileged {
        flags |= MountFlags::RDONLY;
    }
    mount("cgroup", "/sys/fs/cgroup", "cgroup2", flags, None)
}

fn mount_console(terminal: &CStr) -> std::result::Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(CWD, "/dev/console", flags, Mode::from_raw_mode(0o600))?;
    mount_bind(terminal, "/dev/console")
}

fn restrict() -> std::result::Result<(), Errno> {
    let protected =
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    for path in READ_ONLY {
        match mount_bind(path, path) {
            Ok(()) => mount_remount(path, MountFlags::BIND | protected, "")?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    for (path, kind) in MASKED {
        let result = match kind {
            Kind::File => mount_bind("/dev/null", path),
            Kind::Directory => mount("tmpfs", path, "tmpfs", protected, None),
        };
        match result {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a setting of the kernel.
pub(super) fn write(path: &str, value: &str) -> std::result::Result<(), Errno> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes()).map(|_| ())
}
