//! The container's control group. The agent stays in the root of the tree, outside of it.
//!
//! A kernel without control groups is possible (a user may bring one): then there is no group, and
//! only asking for limits is an error.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_agent_protocol::{Failure, FailureKind, Limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom, mkdirat, openat, seek, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::failure::{Explain, Result};
use crate::places::Places;
use crate::sys::{read, time};

/// The group in which all processes of the container are.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: OwnedFd,
    tree: OwnedFd,
}

/// The directory of the group in the tree.
pub(crate) const NAME: &str = "hull";

/// The share of the CPUs that a group has unless it is given another.
const DEFAULT_WEIGHT: u16 = 100;

/// How long processes may take until they stop: one may wait for a disk.
const FREEZE_US: u64 = 10_000_000;

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

    /// Sets the limits of everything in the container together, where they are others than before.
    fn limit(&self, before: &Limits, limits: &Limits) -> Result<()> {
        for ((file, before), (_, value)) in values(before).into_iter().zip(values(limits)) {
            if value != before {
                write_small(&self.directory, file, &value)
                    .explain(FailureKind::System, || format!("set {file} to {value}"))?;
            }
        }
        Ok(())
    }

    /// The content of one of the group's files; empty where the kernel has none.
    pub(crate) fn read(&self, file: &str) -> String {
        read_small(&self.directory, file).unwrap_or_default()
    }

    /// Stops every process of the container; returns when none runs any more.
    pub(crate) fn freeze(&self) -> Result<()> {
        let froze = self.freeze_all();
        if froze.is_err() {
            let _ = self.thaw();
        }
        froze.explain(FailureKind::System, || {
            "stop the container's processes".into()
        })
    }

    fn freeze_all(&self) -> std::result::Result<(), Errno> {
        write_small(&self.directory, "cgroup.freeze", "1")?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let events = openat(&self.directory, "cgroup.events", flags, Mode::empty())?;
        let until = time::since_boot_us() + FREEZE_US;
        loop {
            let mut content = Vec::new();
            seek(&events, SeekFrom::Start(0))?;
            read::append(&events, &mut content, 4096)?;
            if content
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"frozen 1")
            {
                return Ok(());
            }
            let left = until.saturating_sub(time::since_boot_us());
            if left == 0 {
                return Err(Errno::TIMEDOUT);
            }
            // The kernel says when it has something new.
            let timeout = Timespec {
                tv_sec: i64::try_from(left / 1_000_000).unwrap_or(0),
                tv_nsec: i64::try_from(left % 1_000_000 * 1000).unwrap_or(0),
            };
            poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout))?;
        }
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> std::result::Result<(), Errno> {
        write_small(&self.directory, "cgroup.freeze", "0")
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

/// The limits as the kernel takes them.
fn values(limits: &Limits) -> [(&'static str, String); 4] {
    let or_max =
        |value: Option<u64>| value.map_or_else(|| "max".to_owned(), |value| value.to_string());
    let cpu = match limits.cpu {
        Some(cpu) => format!("{} {}", cpu.quota_us, cpu.period_us),
        None => "max".to_owned(),
    };
    [
        ("memory.max", or_max(limits.memory)),
        ("cpu.max", cpu),
        (
            "cpu.weight",
            limits.cpu_weight.unwrap_or(DEFAULT_WEIGHT).to_string(),
        ),
        ("pids.max", or_max(limits.pids)),
    ]
}

/// Refuses limits when there is no group to set them on.
pub(crate) fn limit(group: Option<&Cgroup>, before: &Limits, limits: &Limits) -> Result<()> {
    match group {
        _ if before == limits => Ok(()),
        Some(group) => group.limit(before, limits),
        None => Err(missing("limit the container")),
    }
}

/// This guest's kernel is one of a user's own.
pub(crate) fn missing(what: &str) -> Failure {
    let message = format!("cannot {what}: this guest's kernel has no control groups (cgroup2)");
    Failure::new(FailureKind::System, message)
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
