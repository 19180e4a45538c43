//! A control group for this process and what it starts, which counts what they have of the host's memory: their pages, those of the files that they
//! were the first to touch, and what the host's kernel keeps for them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The group, which this process leaves when it is dropped.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    /// Where this process was.
    before: PathBuf,
    /// The file that has the sum.
    usage: &'static str,
    /// The kernel's part of it: a file of its own, or a line of `memory.stat`.
    kernel: &'static str,
}

/// What a group has, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// All of it.
    pub total: u64,
    /// What the host's kernel keeps for its processes: page tables, KVM's tables, stacks of threads.
    pub kernel: u64,
    /// Pages of files.
    pub files: u64,
}

impl Group {
    /// Makes a group and enters it; nothing where this process may not, or nobody counts memory.
    #[must_use]
    pub fn enter() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let (mounts, usage, kernel): (&[&str], _, _) = match controllers {
                "" => (
                    &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
                    "memory.current",
                    "kernel",
                ),
                "memory" => (
                    &["/sys/fs/cgroup/memory"],
                    "memory.usage_in_bytes",
                    "memory.kmem.usage_in_bytes",
                ),
                _ => return None,
            };
            let below = path.trim_start_matches('/');
            let mut places = mounts.iter().map(|mount| Path::new(mount).join(below));
            places.find_map(|before| {
                let path = before.join(format!("hull-herd-{}", std::process::id()));
                fs::create_dir(&path).ok()?;
                let group = Self {
                    path,
                    before,
                    usage,
                    kernel,
                };
                let counts = group.path.join(usage).exists();
                (counts && group.move_to(&group.path).is_ok()).then_some(group)
            })
        })
    }

    /// What its processes have now.
    ///
    /// # Errors
    /// If the group does not say.
    pub fn usage(&self) -> Result<Usage> {
        let number = |text: &str| text.trim().parse::<u64>().map(|bytes| bytes / 1024);
        let stat = self.read("memory.stat")?;
        let line = |name: &str| {
            let lines = stat.lines().filter_map(|line| line.split_once(' '));
            let found = lines.clone().find(|(key, _)| *key == name);
            found.map(|(_, value)| value)
        };
        let kernel = match line(self.kernel) {
            Some(value) => number(value)?,
            None => number(&self.read(self.kernel)?)?,
        };
        let files = line("cache").or_else(|| line("file"));
        Ok(Usage {
            total: number(&self.read(self.usage)?)?,
            kernel,
            files: number(files.context("memory.stat has no line for files")?)?,
        })
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.path.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    fn move_to(&self, group: &Path) -> io::Result<()> {
        fs::write(group.join("cgroup.procs"), std::process::id().to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.move_to(&self.before);
        let _ = fs::remove_dir(&self.path);
    }
}
