//! Paths inside the container's root, where any component may be a symbolic link that the image's
//! author chose: links are resolved inside the root, as the container's own processes see them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use hull_agent_protocol::{Failure, FailureKind};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2, readlinkat};
use rustix::io::Errno;

use crate::failure::{Explain, Result};

/// As many symbolic links as Linux follows in one path.
const MAX_LINKS: usize = 40;
/// As many bytes as a path may have.
const MAX_PATH: usize = 4096;

/// A directory inside the root.
#[derive(Debug)]
pub(super) struct Directory {
    /// Opened with `O_PATH`.
    pub(super) directory: OwnedFd,
    /// It did not exist before.
    pub(super) made: bool,
}

/// Opens the directory `path`, which is made with its parents if it is missing.
pub(super) fn directory(root: &impl AsFd, path: &str) -> Result<Directory> {
    if let Some(directory) = open(root, path, OFlags::DIRECTORY)? {
        return Ok(Directory {
            directory,
            made: false,
        });
    }
    let resolved = resolve(root, path)?;
    make_parents(root, &resolved, resolved.len())?;
    match open(root, &resolved.join("/"), OFlags::DIRECTORY)? {
        Some(directory) => Ok(Directory {
            directory,
            made: true,
        }),
        None => Err(missing(path)),
    }
}

/// Opens the file `path`, which is made, empty and with its parents, if it is missing.
pub(super) fn file(root: &impl AsFd, path: &str) -> Result<OwnedFd> {
    if let Some(file) = open(root, path, OFlags::empty())? {
        return Ok(file);
    }
    let resolved = resolve(root, path)?;
    make_parents(root, &resolved, resolved.len().saturating_sub(1))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    match openat2(root, resolved.join("/"), flags, mode, ResolveFlags::IN_ROOT) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => Err(error).explain(FailureKind::Mount, || format!("make {path}"))?,
    }
    open(root, &resolved.join("/"), OFlags::empty())?.ok_or_else(|| missing(path))
}

/// Opens the file `path`, if it is there.
pub(super) fn find(root: &impl AsFd, path: &str) -> Result<Option<OwnedFd>> {
    open(root, path, OFlags::empty())
}

/// Makes the directory `path` and its parents, unless it is there.
pub(crate) fn make_directory(root: &impl AsFd, path: &str) -> Result<()> {
    directory(root, path).map(|_| ())
}

/// Where `path` leads when every link on the way is followed inside the root: components without
/// links and without `..`, some of which may not exist.
pub(crate) fn resolve(root: &impl AsFd, path: &str) -> Result<Vec<String>> {
    let mut ahead: VecDeque<String> = components(path).collect();
    let mut resolved: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(component) = ahead.pop_front() {
        if component == ".." {
            resolved.pop();
            continue;
        }
        resolved.push(component);
        let so_far = resolved.join("/");
        if so_far.len() > MAX_PATH {
            return Err(too_long(path));
        }
        // Anything but a link, or nothing at all, gives an error here.
        let Ok(target) = readlinkat(root, so_far, Vec::new()) else {
            continue;
        };
        links += 1;
        let target = target.to_str().map_err(|_| too_long(path))?;
        if links > MAX_LINKS || target.len() > MAX_PATH {
            return Err(too_long(path));
        }
        resolved.pop();
        if target.starts_with('/') {
            resolved.clear();
        }
        for component in components(target).rev() {
            ahead.push_front(component);
        }
    }
    Ok(resolved)
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = String> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .map(str::to_owned)
}

fn make_parents(root: &impl AsFd, resolved: &[String], count: usize) -> Result<()> {
    let mut path = String::new();
    for name in resolved.iter().take(count) {
        path.push_str(name);
        match mkdirat(root, &path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                Err(error).explain(FailureKind::Mount, || format!("make the directory /{path}"))?;
            }
        }
        path.push('/');
    }
    Ok(())
}

/// Opens what is there; `None` if something on the way is missing.
fn open(root: &impl AsFd, path: &str, flags: OFlags) -> Result<Option<OwnedFd>> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let path = if path.is_empty() { "." } else { path };
    match openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).explain(FailureKind::Mount, || format!("open {path}")),
    }
}

fn missing(path: &str) -> Failure {
    Failure::new(
        FailureKind::Mount,
        format!("cannot make {path} in the container"),
    )
}

fn too_long(path: &str) -> Failure {
    let message = format!("cannot resolve {path} in the container: too many or too long links");
    Failure::new(FailureKind::Mount, message)
}

#[cfg(test)]
mod tests;
