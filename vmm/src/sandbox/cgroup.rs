//! A control group of the machine's own, which bounds its threads and shows what it uses; where this process may make one.
//!
//! Linux has two kinds (`cgroups(7)`). The keeper makes a group in each that it is in, lets the machine's process be made in the newer
//! one, and has it enter the older one itself: both are cheap, while moving a process waits for all processors of the host.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, getpid, test_kill_process};

/// Threads that a machine may have: vCPUs, devices, and some to spare.
const MOST_THREADS: &str = "256";

/// How the names of groups begin. The machine's name and the keeper's number follow.
const PREFIX: &str = "hull-vmm-";

/// The groups of one machine, which go with their keeper.
#[derive(Debug)]
pub(crate) struct Cgroups {
    unified: Option<Group>,
    old: Option<Group>,
}

#[derive(Debug)]
struct Group {
    path: PathBuf,
    directory: OwnedFd,
}

/// Where groups can be made.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    unified: Option<PathBuf>,
    /// Of the older kind, for the number of processes.
    old: Option<PathBuf>,
}

impl Cgroups {
    /// No groups.
    #[must_use]
    pub(crate) fn none() -> Self {
        Self {
            unified: None,
            old: None,
        }
    }

    /// Makes groups for the machine of this name, as far as there are any and this process may.
    #[must_use]
    pub(crate) fn make(id: &str) -> Self {
        let places = Places::find();
        let name = format!("{PREFIX}{id}-{}", getpid().as_raw_nonzero());
        let make = |place: PathBuf| Group::make(place.join(&name)).ok();
        Self {
            unified: places.unified.and_then(make),
            old: places.old.and_then(make),
        }
    }

    /// The group that a process can be made in.
    #[must_use]
    pub(crate) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|group| group.directory.as_fd())
    }

    /// Whether there is any.
    #[must_use]
    pub(crate) fn is_there(&self) -> bool {
        self.unified.is_some() || self.old.is_some()
    }

    /// Enters the group that a process enters by itself. It has a single thread. Where that fails it stays where it is.
    pub(crate) fn join(&self) {
        if let Some(group) = &self.old {
            let _ = group.write("tasks", "0");
        }
    }

    /// Removes what keepers that were killed have left.
    pub(crate) fn sweep(&self) {
        for group in self.unified.iter().chain(&self.old) {
            let place = group.path.parent().map(fs::read_dir);
            for entry in place.into_iter().flatten().flatten().flatten() {
                if entry.file_name().to_str().is_some_and(is_left) {
                    // Refused while somebody is in it.
                    let _ = fs::remove_dir(entry.path());
                }
            }
        }
    }
}

/// Whether this is the name of a group whose keeper is gone.
fn is_left(name: &str) -> bool {
    let number = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.rsplit('-').next());
    let pid = number.and_then(|number| Pid::from_raw(number.parse().ok()?));
    pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

impl Group {
    fn make(path: PathBuf) -> io::Result<Self> {
        match fs::create_dir(&path) {
            // Left by a keeper of the same number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, &path, flags, Mode::empty())?;
        let group = Self { path, directory };
        // There where the limit is, which may be in neither kind.
        let _ = group.write("pids.max", MOST_THREADS);
        Ok(group)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let file = openat(
            &self.directory,
            file,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::io::write(&file, text.as_bytes())?;
        Ok(())
    }
}

/// Only the keeper can: the machine's process does not see the path.
impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

impl Places {
    fn find() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
    }

    /// From which groups this process is in, and where they are mounted (`proc(5)`).
    fn parse(groups: &str, mounts: &str) -> Self {
        let mut places = Self::default();
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if controllers.is_empty() {
                places.unified = place(mounts, path, |kind, _| kind == "cgroup2");
            } else if controllers.split(',').any(|name| name == "pids") {
                let has = |options: &str| options.split(',').any(|name| name == "pids");
                places.old = place(mounts, path, |kind, options| {
                    kind == "cgroup" && has(options)
                });
            }
        }
        places
    }
}

/// The directory of the group `path` in the first mount that suits by its kind and options.
fn place(mounts: &str, path: &str, suits: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        if !suits(kind, options) {
            return None;
        }
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        Some(Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / /proc rw - proc proc rw
30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
32 30 0:28 /box /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn groups_are_made_below_those_that_the_process_is_in() {
        let groups = "8:pids:/box/user/me\n2:cpu,cpuacct:/x\n0::/system.slice/hull.service\n";
        let expected = Places {
            unified: Some("/sys/fs/cgroup/unified/system.slice/hull.service".into()),
            old: Some("/sys/fs/cgroup/pids/user/me".into()),
        };
        assert_eq!(Places::parse(groups, MOUNTS), expected);
        assert_eq!(Places::parse("0::/", ""), Places::default());
        assert_eq!(Places::parse("nonsense", MOUNTS), Places::default());
    }

    #[test]
    fn only_what_a_dead_keeper_left_is_taken_away() {
        let own = getpid().as_raw_nonzero();
        assert!(!is_left(&format!("{PREFIX}vm-7-{own}")));
        // No process has such a number: 2^22 is the most.
        assert!(is_left(&format!("{PREFIX}vm-7-99999999")));
        assert!(!is_left("hull-vmm-"));
        assert!(!is_left("system.slice-99999999"));
    }
}
