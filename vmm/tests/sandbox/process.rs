//! What `/proc` has of a microVM's processes.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

/// A microVM's processes.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) keeper: Pid,
    pub(crate) pid: Pid,
    handle: std::os::fd::OwnedFd,
    /// The directories of its control groups.
    pub(crate) groups: Vec<PathBuf>,
}

impl Machine {
    /// The processes of the keeper `keeper`.
    pub(crate) fn of(keeper: Pid) -> Self {
        let pid = child(keeper).expect("no machine");
        Self {
            keeper,
            pid,
            handle: pidfd_open(pid, PidfdFlags::empty()).unwrap(),
            groups: groups(&format!("-{}", keeper.as_raw_nonzero())),
        }
    }

    pub(crate) fn await_end(&self) {
        await_end(&self.handle);
    }

    /// Neither process is there, nor a control group.
    pub(crate) fn assert_gone(&self) {
        self.await_end();
        for pid in [self.keeper, self.pid] {
            assert!(test_kill_process(pid).is_err(), "{pid:?} is there");
        }
        for group in &self.groups {
            assert!(!group.exists(), "{} was left", group.display());
        }
    }
}

/// All control groups of machines whose name ends so.
pub(crate) fn groups(end: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let points = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(point))
    });
    let mut found = Vec::new();
    for point in points {
        let Ok(entries) = fs::read_dir(&point) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("hull-vmm-") && name.ends_with(end) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// The child of a process, if it has one.
pub(crate) fn child(pid: Pid) -> Option<Pid> {
    let number = pid.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{number}/task/{number}/children"));
    let first = children.ok()?.split_whitespace().next()?.parse().ok()?;
    Pid::from_raw(first)
}

/// Waits for the end of all processes that have `mark` in their command lines.
pub(crate) fn await_none(mark: &Path) {
    let mark = mark.to_str().unwrap();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            continue;
        };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_one = String::from_utf8_lossy(&words).contains(mark);
        let handle = is_one.then(|| pidfd_open(pid, PidfdFlags::empty()));
        if let Some(Ok(handle)) = handle {
            await_end(&handle);
        }
    }
}

pub(crate) fn await_end(handle: &std::os::fd::OwnedFd) {
    let minute = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let ended = poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&minute));
    assert_eq!(ended, Ok(1), "the machine's process lives on");
}

/// The directories of a process's threads.
pub(crate) fn tasks(pid: Pid) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    tasks.map(|task| task.unwrap().path()).collect()
}

pub(crate) fn name(task: &Path) -> String {
    let name = fs::read_to_string(task.join("comm")).unwrap();
    name.trim_end().to_owned()
}

/// The thread of this name.
pub(crate) fn thread(pid: Pid, name: &str) -> i32 {
    let mut tasks = tasks(pid).into_iter();
    let task = tasks.find(|task| self::name(task) == name);
    let task = task.unwrap_or_else(|| panic!("{pid:?} has no thread {name:?}"));
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// A field of a thread's status, with single spaces.
pub(crate) fn status(task: &Path, field: &str) -> String {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let words: Vec<_> = value.expect("no such field").split_whitespace().collect();
    words.join(" ")
}
