//! Files and directories as tar archives on standard output.
//!
//! A container that runs may change them meanwhile: what is gone when its turn comes is left out, and a file that became shorter is
//! filled up with zeros.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use hull_agent_protocol::{Failure, FailureKind};
use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Mode, OFlags, Stat, fgetxattr, major, minor, openat,
    readlinkat_raw, statat,
};
use rustix::io::Errno;

use super::output::{Output, Sent};
use super::path::{Asked, join, names, or_dot, size};
use super::tar::{Kind, Member, padding, write};
use super::{about, unsent};
use crate::failure::Result;

/// The attribute that makes a program more than its owner: the one that archives of Docker's have.
const CAPABILITY: &[u8] = b"security.capability";
/// As many bytes as that can have.
const MAX_CAPABILITY: usize = 1024;

/// The longest target of a link.
const MAX_LINK: usize = 4096;

/// An archive that is being written.
#[derive(Debug, Default)]
pub(super) struct Archiver {
    output: Output,
    /// Under which name a file is in the archive that has more of them, by device and inode.
    linked: BTreeMap<(u64, u64), Vec<u8>>,
}

/// What becomes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    Directory(Dev),
    Other,
    /// There is nothing like it in an archive, or it is gone.
    Nothing,
}

/// Sends a file, or a directory with everything in it.
pub(super) fn read(path: &str) -> Result<()> {
    let asked = Asked::new(path);
    let stat = asked.lstat()?;
    let mut archiver = Archiver::default();
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let root = asked.open()?;
        // What the kernel makes up is not the container's, unless that is what was asked for.
        let device = |path| statat(CWD, path, AtFlags::empty()).map(|stat| stat.st_dev);
        let made_up = ["/sys", "/dev"].map(|path| device(path).unwrap_or(stat.st_dev));
        let enter = |device| device == stat.st_dev || !made_up.contains(&device);
        archiver.tree(root.as_fd(), Some(asked.name.as_bytes()), enter)?;
    } else {
        archiver.add(CWD, asked.path.as_bytes(), asked.name.as_bytes())?;
    }
    archiver.finish()
}

/// Sends everything in the directory `root`.
pub(super) fn export(root: BorrowedFd<'_>) -> Result<()> {
    let mut archiver = Archiver::default();
    archiver.tree(root, None, |_| true)?;
    archiver.finish()
}

impl Archiver {
    /// Adds the directory `root` under a name, or only what is in it. `enter` says whether to look into a directory, by its device.
    fn tree(
        &mut self,
        root: BorrowedFd<'_>,
        name: Option<&[u8]>,
        enter: impl Fn(Dev) -> bool,
    ) -> Result<()> {
        let mut ahead = vec![Vec::new()];
        while let Some(path) = ahead.pop() {
            let added = match (name, path.is_empty()) {
                (None, true) => None,
                (Some(name), true) => Some(self.add(root, &path, name)?),
                (name, false) => {
                    let name = join(name.unwrap_or_default(), &path);
                    Some(self.add(root, &path, &name)?)
                }
            };
            let enters = match added {
                None => true,
                Some(Added::Directory(device)) => enter(device),
                Some(Added::Other | Added::Nothing) => false,
            };
            if enters {
                match names(&root, &path) {
                    Ok(names) => ahead.extend(names.iter().rev().map(|name| join(&path, name))),
                    Err(Errno::NOENT | Errno::NOTDIR) => {}
                    Err(error) => return Err(about(&path, error)),
                }
            }
        }
        Ok(())
    }

    /// Adds what is at `path` below `root`, under a name.
    pub(super) fn add(&mut self, root: BorrowedFd<'_>, path: &[u8], name: &[u8]) -> Result<Added> {
        let failed = |error| about(path, error);
        let stat = match statat(root, or_dot(path), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Added::Nothing),
            Err(error) => return Err(failed(error)),
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let Some(mut member) = member(&stat, file_type, name) else {
            return Ok(Added::Nothing);
        };
        if file_type == FileType::Directory {
            if !name.ends_with(b"/") {
                member.path.push(b'/');
            }
            self.member(&member).map_err(unsent)?;
            return Ok(Added::Directory(stat.st_dev));
        }
        if stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&identity) {
                member.link.clone_from(first);
                member.kind = Kind::HardLink;
                member.size = 0;
                return self.member(&member).map(|()| Added::Other).map_err(unsent);
            }
            self.linked.insert(identity, name.to_vec());
        }
        match file_type {
            FileType::RegularFile if member.size > 0 => self.file(root, path, &mut member),
            FileType::Symlink => {
                let mut target = Vec::with_capacity(MAX_LINK);
                readlinkat_raw(root, path, spare_capacity(&mut target)).map_err(failed)?;
                member.link = target;
                self.member(&member).map(|()| Added::Other).map_err(unsent)
            }
            _ => self.member(&member).map(|()| Added::Other).map_err(unsent),
        }
    }

    fn file(&mut self, root: BorrowedFd<'_>, path: &[u8], member: &mut Member) -> Result<Added> {
        // Not blocking: it may be something else by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match openat(root, path, flags | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(Added::Nothing),
            Err(error) => return Err(about(path, error)),
        };
        if member.mode & 0o111 != 0 {
            let mut value = Vec::with_capacity(MAX_CAPABILITY);
            if fgetxattr(&file, CAPABILITY, spare_capacity(&mut value)).is_ok() {
                member.xattrs = vec![(CAPABILITY.to_vec(), value)];
            }
        }
        self.member(member).map_err(unsent)?;
        let sent = self.output.content(&file, member.size).map_err(unsent)?;
        self.output.zeros(padding(member.size)).map_err(unsent)?;
        match sent {
            Sent::Whole => Ok(Added::Other),
            Sent::Unreadable(error) => Err(about(path, error)),
        }
    }

    pub(super) fn member(&mut self, member: &Member) -> std::result::Result<(), Errno> {
        let mut header = Vec::new();
        write::header(member, &mut header);
        self.output.write(&header)
    }

    /// Ends the archive.
    pub(super) fn finish(&mut self) -> Result<()> {
        let mut end = Vec::new();
        write::end(&mut end);
        let written = self.output.write(&end).and_then(|()| self.output.flush());
        written.map_err(unsent)
    }
}

/// `None` for a socket, which means nothing without its server.
fn member(stat: &Stat, file_type: FileType, name: &[u8]) -> Option<Member> {
    let kind = match file_type {
        FileType::RegularFile => Kind::Regular,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        _ => return None,
    };
    let device = match kind {
        Kind::Character | Kind::Block => (major(stat.st_rdev), minor(stat.st_rdev)),
        _ => (0, 0),
    };
    Some(Member {
        path: name.to_vec(),
        link: Vec::new(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, 0),
        size: if kind == Kind::Regular { size(stat) } else { 0 },
        device,
        xattrs: Vec::new(),
    })
}

/// What stands for something that a layer takes away (OCI image specification, "Whiteouts").
pub(super) fn whiteout(path: &[u8]) -> Result<Member> {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (directory, name) = match slash {
        Some(slash) => path.split_at(slash + 1),
        None => (&[][..], path),
    };
    if name.is_empty() {
        let message = "a layer cannot take its own root away";
        return Err(Failure::new(FailureKind::System, message));
    }
    Ok(Member {
        path: [directory, b".wh.", name].concat(),
        link: Vec::new(),
        kind: Kind::Regular,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        size: 0,
        device: (0, 0),
        xattrs: Vec::new(),
    })
}
