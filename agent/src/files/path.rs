//! What a path means that is asked for, as Docker takes it: it begins at the root, `..` counts before any link does, and a slash or a
//! dot at the end follows a link. The root of this process is the container's.

use std::os::fd::OwnedFd;

use hull_agent_protocol::{Clock, FailureKind, FileStat};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::output::Output;
use super::{about, unsent};
use crate::failure::{Explain, Result};
use crate::root::resolve;

/// A path as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Absolute, without `.` and `..`.
    pub(super) path: String,
    /// A link at its end is followed, and must lead to a directory.
    pub(super) follow: bool,
    /// The last component, `.` if that was it, `/` for the root.
    pub(super) name: String,
}

impl Asked {
    pub(super) fn new(path: &str) -> Self {
        let mut components: Vec<&str> = Vec::new();
        for component in path.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(components.pop()),
                name => components.push(name),
            }
        }
        let is_dot = path == "." || path.ends_with("/.");
        let name = match components.last() {
            _ if is_dot => ".",
            Some(name) => name,
            None => "/",
        };
        Self {
            path: format!("/{}", components.join("/")),
            follow: is_dot || path.ends_with('/'),
            name: name.to_owned(),
        }
    }

    /// The path as the kernel is to take it.
    pub(super) fn to_follow(&self) -> String {
        match self.follow {
            true => format!("{}/.", self.path),
            false => self.path.clone(),
        }
    }

    pub(super) fn lstat(&self) -> Result<Stat> {
        let stat = statat(CWD, self.to_follow(), AtFlags::SYMLINK_NOFOLLOW);
        stat.map_err(|error| about(self.path.as_bytes(), error))
    }

    /// Opens a directory, to look at what is in it.
    pub(super) fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, self.to_follow(), flags, Mode::empty());
        opened.map_err(|error| about(self.path.as_bytes(), error))
    }
}

/// Sends what a path is.
pub(super) fn send_stat(path: &str) -> Result<()> {
    let mut output = Output::default();
    let sent = output.write(&stat(path)?.encode());
    sent.and_then(|()| output.flush()).map_err(unsent)
}

fn stat(path: &str) -> Result<FileStat> {
    let asked = Asked::new(path);
    let stat = asked.lstat()?;
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = openat(CWD, "/", flags, Mode::empty())
                .explain(FailureKind::System, || "open the container's root".into())?;
            format!("/{}", resolve(&root, &asked.path)?.join("/"))
        }
        _ => String::new(),
    };
    Ok(FileStat {
        name: asked.name,
        size: size(&stat),
        mode: stat.st_mode,
        modified: Clock {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        link_target,
    })
}

pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The names in a directory below `root`, in order.
pub(super) fn names(
    root: &impl std::os::fd::AsFd,
    path: &[u8],
) -> std::result::Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(root, or_dot(path), flags, Mode::empty())?;
    names_in(&directory)
}

pub(super) fn names_in(
    directory: &impl std::os::fd::AsFd,
) -> std::result::Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = rustix::fs::RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A path below a directory, which itself is the empty path.
pub(super) fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// `name` in the directory `path`.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if !joined.is_empty() && !joined.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_docker_does() {
        let asked = |path| {
            let Asked { path, follow, name } = Asked::new(path);
            (path, follow, name)
        };
        let is = |path: &str, follow, name: &str| (path.to_owned(), follow, name.to_owned());
        assert_eq!(asked("/etc/passwd"), is("/etc/passwd", false, "passwd"));
        assert_eq!(asked("etc"), is("/etc", false, "etc"));
        assert_eq!(asked("/etc/"), is("/etc", true, "etc"));
        assert_eq!(asked("/etc/."), is("/etc", true, "."));
        assert_eq!(asked("../../a/../b"), is("/b", false, "b"));
        assert_eq!(asked("/"), is("/", true, "/"));
        assert_eq!(asked(""), is("/", false, "/"));
        assert_eq!(asked("."), is("/", true, "."));
    }

    #[test]
    fn names_are_joined() {
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b"b"), b"a/b");
        assert_eq!(join(b"/", b"b"), b"/b");
    }
}
