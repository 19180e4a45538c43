//! How the root differs from the image: from what the overlay has written, which is little, and not from all that there is.
//!
//! In the upper directory of an overlay a device node 0:0 stands for something that is gone, and a directory may hide the one below, or
//! be another one renamed (Documentation/filesystems/overlayfs.rst in Linux). Where it is so, the whole of it is compared with the
//! image. Contents come from the overlay itself: the upper directory has those of a file whose mode alone was changed not.

use std::os::fd::{AsFd, OwnedFd};

use hull_agent_protocol::{Change, ChangeKind, MAX_PATH};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;

use super::archive::{Archiver, whiteout};
use super::output::Output;
use super::path::{join, names, names_in};
use super::{Parts, about, unsent};
use crate::failure::Result;

/// What the agent itself made in the root, to mount something there; it is none of the container's doing.
const MOUNT_POINTS: [&[u8]; 8] = [
    b"dev",
    b"proc",
    b"run",
    b"sys",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/machine-id",
    b"etc/resolv.conf",
];
const ETC: &[u8] = b"etc";

/// Attributes with which the overlay notes that a directory is not what it seems.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const REDIRECT: &[u8] = b"trusted.overlay.redirect";

/// Sends what differs as a list.
pub(super) fn list(parts: &Parts) -> Result<()> {
    let mut output = Output::default();
    let mut bytes = Vec::new();
    for change in changes(parts)? {
        bytes.clear();
        let path = join(b"/", &change.path);
        let kind = change.kind;
        Change { kind, path }.encode(&mut bytes);
        output.write(&bytes).map_err(unsent)?;
    }
    output.flush().map_err(unsent)
}

/// Sends what differs as a layer.
pub(super) fn layer(parts: &Parts) -> Result<()> {
    let mut archiver = Archiver::default();
    for change in changes(parts)? {
        match change.kind {
            ChangeKind::Deleted => archiver.member(&whiteout(&change.path)?).map_err(unsent)?,
            ChangeKind::Added | ChangeKind::Modified => {
                archiver.add(parts.merged.as_fd(), &change.path, &change.path)?;
            }
        }
    }
    archiver.finish()
}

/// What differs, parents before what is in them. Paths have no slash at the beginning.
fn changes(parts: &Parts) -> Result<Vec<Change>> {
    let mut walk = Walk {
        parts,
        changes: Vec::new(),
    };
    walk.upper(Vec::new(), true)?;
    Ok(walk.changes)
}

struct Walk<'a> {
    parts: &'a Parts,
    changes: Vec<Change>,
}

/// How to look into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Only at what the overlay has written.
    Upper,
    /// At all that is in it.
    Whole,
}

impl Walk<'_> {
    /// A directory of the upper layer that lies over the image's of the same path, if `lower` says that there is one.
    fn upper(&mut self, path: Vec<u8>, lower: bool) -> Result<()> {
        for name in look(&self.parts.upper, &path)? {
            let path = checked(join(&path, &name))?;
            let Some(upper) = stat(&self.parts.upper, &path)? else {
                continue;
            };
            let below = match lower {
                true => stat(&self.parts.image, &path)?,
                false => None,
            };
            let kind = FileType::from_raw_mode(upper.st_mode);
            if kind == FileType::CharacterDevice && upper.st_rdev == 0 {
                if below.is_some() {
                    self.push(ChangeKind::Deleted, path);
                }
                continue;
            }
            let how = match kind {
                FileType::Directory => self.how(&path)?,
                _ => How::Upper,
            };
            self.compare(path, &upper, below.as_ref(), how)?;
        }
        Ok(())
    }

    /// A directory of which everything is compared with the image's of the same path, if there is one.
    fn whole(&mut self, path: Vec<u8>, lower: bool) -> Result<()> {
        let mut all = look(&self.parts.merged, &path)?;
        if lower {
            all.extend(look(&self.parts.image, &path)?);
            all.sort_unstable();
            all.dedup();
        }
        for name in all {
            let path = checked(join(&path, &name))?;
            let below = match lower {
                true => stat(&self.parts.image, &path)?,
                false => None,
            };
            match (stat(&self.parts.merged, &path)?, below) {
                (Some(merged), below) => self.compare(path, &merged, below.as_ref(), How::Whole)?,
                (None, Some(_)) => self.push(ChangeKind::Deleted, path),
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn compare(&mut self, path: Vec<u8>, now: &Stat, below: Option<&Stat>, how: How) -> Result<()> {
        let is_directory =
            |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let Some(below) = below else {
            if self.is_mount_point(&path, is_directory(now))? {
                return Ok(());
            }
            self.push(ChangeKind::Added, path.clone());
            return match is_directory(now) {
                true => self.whole(path, false),
                false => Ok(()),
            };
        };
        if !is_directory(now) {
            if differs(now, below) {
                self.push(ChangeKind::Modified, path);
            }
            return Ok(());
        }
        // Taken back if nothing of it has changed.
        self.push(ChangeKind::Modified, path.clone());
        let before = self.changes.len();
        match (is_directory(below), how) {
            (false, _) => return self.whole(path, false),
            (true, How::Upper) => self.upper(path, true)?,
            (true, How::Whole) => self.whole(path, true)?,
        }
        if self.changes.len() == before && !differs(now, below) {
            self.changes.pop();
        }
        Ok(())
    }

    fn push(&mut self, kind: ChangeKind, path: Vec<u8>) {
        self.changes.push(Change { kind, path });
    }

    fn how(&self, path: &[u8]) -> Result<How> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&self.parts.upper, path, flags, Mode::empty())
            .map_err(|error| about(path, error))?;
        // Whatever its value is.
        let has = |name| fgetxattr(&directory, name, &mut [0_u8; 0][..]).is_ok();
        Ok(match has(OPAQUE) || has(REDIRECT) {
            true => How::Whole,
            false => How::Upper,
        })
    }

    /// Whether something that the image does not have was made by the agent alone.
    fn is_mount_point(&self, path: &[u8], is_directory: bool) -> Result<bool> {
        if MOUNT_POINTS.contains(&path) {
            return match is_directory {
                true => Ok(look(&self.parts.merged, path)?.is_empty()),
                false => Ok(stat(&self.parts.merged, path)?.is_none_or(|stat| stat.st_size == 0)),
            };
        }
        if path != ETC || !is_directory {
            return Ok(false);
        }
        for name in look(&self.parts.merged, path)? {
            if !self.is_mount_point(&join(path, &name), false)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// As Docker compares: directories not by their times, for these change with what is in them.
fn differs(now: &Stat, below: &Stat) -> bool {
    let owner = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let content = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    let is_directory = FileType::from_raw_mode(now.st_mode) == FileType::Directory;
    owner(now) != owner(below) || !is_directory && content(now) != content(below)
}

/// The names in a directory; none if it is gone.
fn look(root: &OwnedFd, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let names = match path.is_empty() {
        true => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(root, ".", flags, Mode::empty()).and_then(|root| names_in(&root))
        }
        false => names(root, path),
    };
    match names {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
        names => names.map_err(|error| about(path, error)),
    }
}

/// What is at a path; `None` if it is gone.
fn stat(root: &OwnedFd, path: &[u8]) -> Result<Option<Stat>> {
    match statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(about(path, error)),
    }
}

/// A directory lies in another, and this function's callers in each other: no deeper than a path can be long.
fn checked(path: Vec<u8>) -> Result<Vec<u8>> {
    match path.len() < MAX_PATH {
        true => Ok(path),
        false => Err(about(&path, Errno::NAMETOOLONG)),
    }
}
