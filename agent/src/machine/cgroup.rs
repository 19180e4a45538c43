//! The container's control group. The agent stays in the root of the tree, outside of it.
//!
//! A kernel without control groups is possible (a user may bring one): then there is no group, and
//! only asking for limits is an error.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_agent_protocol::{Failure, FailureKind, Limits};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::failure::{Explain, Result};
use crate::places::Places;
use crate::sys::read;

/// The group in which all processes of the container are.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: OwnedFd,
    tree: OwnedFd,
}

const NAME: &str = "hull";

/// The controllers that the container may use, if the kernel has them.
const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

impl Cgroup {
    /// Mounts the tree of control groups and makes the container's.
    pub(crate) fn make(places: &Places) -> std::result::Result<Self, Errno> {
        let path = places.cgroup();
        make_directory(&path)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("cgroup2", &path, "cgroup2", flags, None)?;
        let tree = openat(
            CWD,
            &path,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        match mkdirat(&tree, NAME, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let directory = openat(
            &tree,
            NAME,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let group = Self { directory, tree };
        group.delegate()?;
        Ok(group)
    }

    /// Lets the container's group use the controllers that there are.
    fn delegate(&self) -> std::result::Result<(), Errno> {
        let available = read_small(&self.tree, "cgroup.controllers")?;
        let mut wanted = String::new();
        for name in available
            .split_whitespace()
            .filter(|name| CONTROLLERS.contains(name))
        {
            wanted.push('+');
            wanted.push_str(name);
            wanted.push(' ');
        }
        if wanted.is_empty() {
            return Ok(());
        }
        write_small(&self.tree, "cgroup.subtree_control", &wanted)
    }

    /// Sets the limits of everything in the container together.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<()> {
        let cpu = limits
            .cpu
            .map(|cpu| format!("{} {}", cpu.quota_us, cpu.period_us));
        let values = [
            ("memory.max", limits.memory.map(|bytes| bytes.to_string())),
            ("cpu.max", cpu),
            ("pids.max", limits.pids.map(|count| count.to_string())),
        ];
        for (file, value) in values {
            if let Some(value) = value {
                write_small(&self.directory, file, &value)
                    .explain(FailureKind::System, || format!("set {file} to {value}"))?;
            }
        }
        Ok(())
    }

    /// Whether the kernel killed a process of the container for want of memory.
    pub(crate) fn was_out_of_memory(&self) -> bool {
        let events = read_small(&self.directory, "memory.events").unwrap_or_default();
        events.lines().any(|line| {
            line.strip_prefix("oom_kill ")
                .is_some_and(|count| count.trim() != "0")
        })
    }

    /// Removes the group, which must be empty.
    pub(crate) fn remove(&self) {
        let _ = unlinkat(&self.tree, NAME, AtFlags::REMOVEDIR);
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Refuses limits when there is no group to set them on.
pub(crate) fn limit(group: Option<&Cgroup>, limits: &Limits) -> Result<()> {
    match group {
        Some(group) => group.limit(limits),
        None if *limits == Limits::default() => Ok(()),
        None => Err(Failure::new(
            FailureKind::System,
            "cannot limit the container: this guest's kernel has no control groups (cgroup2)",
        )),
    }
}

fn make_directory(path: &std::path::Path) -> std::result::Result<(), Errno> {
    match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

fn read_small(directory: &OwnedFd, name: &str) -> std::result::Result<String, Errno> {
    let file = openat(
        directory,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut content = Vec::new();
    read::append(&file, &mut content, 4096)?;
    String::from_utf8(content).map_err(|_| Errno::ILSEQ)
}

fn write_small(directory: &OwnedFd, name: &str, value: &str) -> std::result::Result<(), Errno> {
    let file = openat(
        directory,
        name,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::write(&file, value.as_bytes()).map(|_| ())
}
