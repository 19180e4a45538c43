//! Unpacking a tar archive, which may be anybody's, into a directory of the container.
//!
//! Names are taken relative to the directory, and those that leave it by `..` are refused. Links on the way, which the container or the
//! archive itself may have made, are resolved inside of the root; what is made is never reached through a link at its own name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_agent_protocol::{Failure, FailureKind};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
    chownat, fchmod, fchown, fsetxattr, fstat, futimens, linkat, makedev, mkdirat, mknodat, openat,
    openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, write};
use rustix::process::fchdir;

use super::about;
use super::path::Asked;
use super::tar::read::Archive;
use super::tar::{Kind, Member};
use crate::failure::Result;

/// To whom everything is to belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Where and how an archive is unpacked.
#[derive(Debug)]
pub(crate) struct Extraction<'a> {
    /// The root in which all paths are resolved.
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) target: &'a str,
    /// A directory stays one, and nothing else becomes one.
    pub(crate) keep_kinds: bool,
    pub(crate) owner: Option<Owner>,
    /// Only what is mounted in the root can be written to.
    pub(crate) read_only: bool,
}

/// A directory in which something is made.
#[derive(Debug)]
struct Parent {
    path: Vec<u8>,
    directory: OwnedFd,
}

impl Extraction<'_> {
    /// Unpacks the archive that comes from `input`.
    pub(crate) fn run(&self, input: impl AsFd) -> Result<()> {
        let base = Asked::new(self.target).path.into_bytes();
        self.check_target(&base)?;
        let mut archive = Archive::new(input);
        let mut parent = None;
        // Directories get their times when nothing is put into them any more.
        let mut directories: Vec<(Vec<u8>, (i64, u32))> = Vec::new();
        while let Some(member) = archive.next().map_err(Failure::from)? {
            let Some((directory, name)) = place(&base, &member.path)? else {
                // The directory itself, which is there.
                continue;
            };
            let there = self.parent(&mut parent, directory)?;
            let path = super::path::join(&there.path, &name);
            self.make(there, &name, &base, &member, &mut archive)
                .map_err(|problem| problem.about(&path, &member))?;
            if member.kind == Kind::Directory {
                directories.push((path, member.mtime));
            }
        }
        for (path, time) in directories.into_iter().rev() {
            // It may have been replaced by the archive itself.
            if let Ok(directory) = self.open(&path) {
                let _ = utimensat(&directory, ".", &times(time), AtFlags::empty());
            }
        }
        Ok(())
    }

    fn check_target(&self, base: &[u8]) -> Result<()> {
        let target = self.open(base).map_err(|error| match error {
            Errno::NOTDIR => {
                Failure::new(FailureKind::Invalid, "extraction point is not a directory")
            }
            error => about(base, error),
        })?;
        let device = |fd: BorrowedFd<'_>| fstat(fd).map(|stat| stat.st_dev);
        let devices = device(target.as_fd()).and_then(|own| Ok((own, device(self.root)?)));
        let (own, root) = devices.map_err(|error| about(base, error))?;
        if self.read_only && own == root {
            let message = "container rootfs is marked read-only";
            return Err(Failure::new(FailureKind::ReadOnly, message));
        }
        Ok(())
    }

    /// Opens a directory, with all links resolved inside the root.
    fn open(&self, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(self.root, path, flags, Mode::empty(), resolve)
    }

    /// The directory `path`, made with its parents if it is missing. Members of one directory come one after the other mostly, so the
    /// last one is kept.
    fn parent<'p>(&self, last: &'p mut Option<Parent>, path: Vec<u8>) -> Result<&'p Parent> {
        if last.as_ref().is_none_or(|last| last.path != path) {
            let directory = match self.open(&path) {
                Err(Errno::NOENT) => self.make_directories(&path),
                directory => directory,
            };
            let directory = directory.map_err(|error| about(&path, error))?;
            return Ok(last.insert(Parent { path, directory }));
        }
        last.as_ref().ok_or_else(|| about(&path, Errno::NOENT))
    }

    fn make_directories(&self, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        let mut so_far = Vec::new();
        let mut directory = self.open(b"/")?;
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            so_far = super::path::join(&so_far, name);
            let next = match self.open(&so_far) {
                Err(Errno::NOENT) => {
                    mkdirat(&directory, name, Mode::from_raw_mode(0o755))?;
                    if let Some(Owner { uid, gid }) = self.owner {
                        own(&directory, name, uid, gid)?;
                    }
                    self.open(&so_far)
                }
                next => next,
            };
            directory = next?;
        }
        Ok(directory)
    }

    fn make(
        &self,
        parent: &Parent,
        name: &[u8],
        base: &[u8],
        member: &Member,
        archive: &mut Archive<impl AsFd>,
    ) -> std::result::Result<(), Problem> {
        let directory = &parent.directory;
        let made = match self.create(directory, name, base, member) {
            Err(Problem::Kernel(Errno::EXIST)) => match self.make_room(directory, name, member)? {
                Room::IsThere => None,
                Room::Made => self.create(directory, name, base, member)?,
            },
            made => made?,
        };
        if member.kind == Kind::HardLink {
            return Ok(());
        }
        if let Some(file) = &made {
            loop {
                let mut rest = archive.content().map_err(Problem::Archive)?;
                if rest.is_empty() {
                    break;
                }
                while !rest.is_empty() {
                    let count = write(file, rest)?;
                    rest = rest.get(count..).unwrap_or_default();
                }
            }
        }
        let Owner { uid, gid } = self.owner.unwrap_or(Owner {
            uid: member.uid,
            gid: member.gid,
        });
        let opened = match member.kind {
            Kind::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Some(openat(directory, name, flags, Mode::empty())?)
            }
            _ => made,
        };
        // What is open is what was made; a name may lead elsewhere by now.
        let Some(file) = opened else {
            own(directory, name, uid, gid)?;
            let time = times(member.mtime);
            return Ok(utimensat(
                directory,
                name,
                &time,
                AtFlags::SYMLINK_NOFOLLOW,
            )?);
        };
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        // After the owner: changing that clears the set-user-id bit and capabilities.
        fchmod(&file, Mode::from_raw_mode(member.mode))?;
        set_attributes(&file, member)?;
        if member.kind == Kind::Regular {
            futimens(&file, &times(member.mtime))?;
        }
        Ok(())
    }

    /// Makes a file of any kind, which must not be there; a regular one is opened.
    fn create(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        base: &[u8],
        member: &Member,
    ) -> std::result::Result<Option<OwnedFd>, Problem> {
        let private = Mode::from_raw_mode(0o600);
        let (major, minor) = member.device;
        // Nobody can open it to change its mode later; the agent has no mask.
        let mode = Mode::from_raw_mode(member.mode);
        let node = |kind| mknodat(directory, name, kind, mode, makedev(major, minor));
        match member.kind {
            Kind::Regular => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                return Ok(Some(openat(directory, name, flags, private)?));
            }
            Kind::Directory => mkdirat(directory, name, Mode::from_raw_mode(0o700))?,
            Kind::Symlink => symlinkat(&*member.link, directory, name)?,
            Kind::HardLink => {
                let place = place(base, &member.link).map_err(Problem::Other)?;
                let Some((path, target)) = place else {
                    return Err(Problem::Kernel(Errno::ISDIR));
                };
                let from = self.open(&path)?;
                linkat(&from, &*target, directory, name, AtFlags::empty())?;
            }
            Kind::Character => node(FileType::CharacterDevice)?,
            Kind::Block => node(FileType::BlockDevice)?,
            Kind::Fifo => node(FileType::Fifo)?,
        }
        Ok(None)
    }

    /// Something is there already: what is to become of it.
    fn make_room(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        member: &Member,
    ) -> std::result::Result<Room, Problem> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let there = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let wanted = member.kind == Kind::Directory;
        match (there, wanted) {
            (true, true) => return Ok(Room::IsThere),
            (true, false) if self.keep_kinds => {
                return Err(Problem::Kind("directory", "non-directory"));
            }
            (false, true) if self.keep_kinds => {
                return Err(Problem::Kind("non-directory", "directory"));
            }
            (true, false) => {
                // By its name alone: nothing else leads to it.
                fchdir(directory)?;
                let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
                let removed = std::fs::remove_dir_all(name);
                removed.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            }
            (false, _) => unlinkat(directory, name, AtFlags::empty())?,
        }
        Ok(Room::Made)
    }
}

/// Of the extended attributes those that belong to a file's content or to its user. A file system that has none goes without.
fn set_attributes(file: &OwnedFd, member: &Member) -> std::result::Result<(), Errno> {
    let wanted = |name: &[u8]| name == b"security.capability" || name.starts_with(b"user.");
    for (name, value) in member.xattrs.iter().filter(|(name, _)| wanted(name)) {
        match fsetxattr(file, &**name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether there is room for what is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Made,
    /// It is a directory, and there is one.
    IsThere,
}

/// What went wrong with one member.
#[derive(Debug)]
enum Problem {
    Kernel(Errno),
    Archive(super::tar::read::Error),
    /// Something of a kind would become another.
    Kind(&'static str, &'static str),
    Other(Failure),
}

impl From<Errno> for Problem {
    fn from(errno: Errno) -> Self {
        Problem::Kernel(errno)
    }
}

impl Problem {
    fn about(self, path: &[u8], member: &Member) -> Failure {
        match self {
            Problem::Kernel(error) => about(path, error),
            Problem::Archive(error) => error.into(),
            Problem::Kind(old, new) => {
                let path = String::from_utf8_lossy(path);
                let name = String::from_utf8_lossy(&member.path);
                let message = format!("cannot overwrite {old} {path:?} with {new} {name:?}");
                Failure::new(FailureKind::Overwrite, message)
            }
            Problem::Other(failure) => failure,
        }
    }
}

/// The directory and the name for a member; `None` for the directory that everything goes into.
fn place(base: &[u8], path: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                if components.pop().is_none() {
                    let path = String::from_utf8_lossy(path);
                    let message =
                        format!("invalid tar archive: {path:?} leads out of the directory");
                    return Err(Failure::new(FailureKind::Archive, message));
                }
            }
            name if name.contains(&0) => {
                let message = "invalid tar archive: a name with a zero byte";
                return Err(Failure::new(FailureKind::Archive, message));
            }
            name => components.push(name),
        }
    }
    let Some(name) = components.pop() else {
        return Ok(None);
    };
    let mut directory = base.to_vec();
    for component in components {
        directory = super::path::join(&directory, component);
    }
    Ok(Some((directory, name.to_vec())))
}

fn own(directory: &OwnedFd, name: &[u8], uid: u32, gid: u32) -> std::result::Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(
        directory,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

#[cfg(test)]
mod tests;
