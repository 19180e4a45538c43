//! New files: MKNOD, MKDIR, SYMLINK, LINK, CREATE, TMPFILE.
//!
//! The server runs with one identity, so what it makes belongs to that, and is then given to who asked for it: to the
//! guest's user and group where the process may do so (it has CAP_CHOWN), and otherwise it stays with the process' own.
//! Bits that run a file as its owner are set after that. The guest has applied the umask of its process; the VMM's own
//! must be 0.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::handles::Handle;
use super::host::{self, SETGID, SETUID, Stat};
use super::server::{Answer, Request, Result, Server};
use super::wire::{Header, LINK_MAX};

const O_EXCL: u32 = 0o200;
/// How often a CREATE may find that there is a file, and then that there is none.
const TRIES: usize = 8;

impl Server {
    pub(super) fn mknod(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let (mode, device) = (request.args.u32()?, request.args.u32()?);
        // The guest has applied the umask.
        request.args.skip(8)?;
        let name = request.args.name()?;
        let kind = FileType::from_raw_mode(mode);
        self.nodes().check_room()?;
        let parent = self.node_fd(request.node())?;
        match kind {
            FileType::RegularFile => {
                let file = host::create(parent.as_fd(), name, OFlags::WRONLY, mode & 0o1777)?;
                self.give(&request.header, parent.as_fd(), file.as_fd(), mode)?;
                return self.entry(&request, name, None);
            }
            FileType::Fifo | FileType::Socket => {}
            // A whiteout of overlayfs is no device. All others would be a way to the host's.
            FileType::CharacterDevice if device == 0 => {}
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        }
        rustix::fs::mknodat(&*parent, name, kind, host::permissions(mode & 0o1777), 0)?;
        self.entry(&request, name, Some(kind))
    }

    pub(super) fn mkdir(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let mode = request.args.u32()?;
        request.args.skip(4)?;
        let name = request.args.name()?;
        self.nodes().check_room()?;
        let parent = self.node_fd(request.node())?;
        rustix::fs::mkdirat(&*parent, name, host::permissions(mode & 0o1777))?;
        self.entry(&request, name, Some(FileType::Directory))
    }

    pub(super) fn symlink(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let name = request.args.name()?;
        let target = request.args.string(LINK_MAX)?;
        self.nodes().check_room()?;
        let parent = self.node_fd(request.node())?;
        rustix::fs::symlinkat(target, &*parent, name)?;
        self.entry(&request, name, Some(FileType::Symlink))
    }

    pub(super) fn link(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let old = request.args.u64()?;
        let name = request.args.name()?;
        let kind = self.nodes().kind(old)?;
        if kind == FileType::Directory {
            return Err(Errno::PERM);
        }
        let (file, parent) = (self.node_fd(old)?, self.node_fd(request.node())?);
        self.proc_self_fd.link(file.as_fd(), parent.as_fd(), name)?;
        self.entry(&request, name, None)
    }

    pub(super) fn create(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let (flags, mode) = (request.args.u32()?, request.args.u32()?);
        request.args.skip(4)?;
        let kill = request.args.u32()?;
        let name = request.args.name()?;
        self.check_handles()?;
        for _ in 0..TRIES {
            match self.create_new(&request, name, flags, mode) {
                Err(Errno::EXIST) if flags & O_EXCL == 0 => {}
                created => {
                    let (file, id) = created?;
                    return self.created(id, file, flags);
                }
            }
            // There is one, so it is opened, unless it has just gone.
            match self.look_up(request.node(), name) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
                Ok((id, stat)) => {
                    self.put_entry(id, &stat);
                    let opened = self.open_file(id, flags, kill);
                    if opened.is_err() {
                        self.nodes().forget(id, 1);
                    }
                    opened?;
                    return Ok(Answer::Payload);
                }
            }
        }
        Err(Errno::EXIST)
    }

    /// A new file with its node; EXIST if there is something, also on a share that can't be written.
    fn create_new(
        &mut self,
        request: &Request<'_>,
        name: &CStr,
        flags: u32,
        mode: u32,
    ) -> Result<(OwnedFd, u64)> {
        let parent = self.node_fd(request.node())?;
        if self.read_only {
            let there = host::open_path(parent.as_fd(), name);
            return Err(there.map_or_else(
                |error| match error {
                    Errno::NOENT => Errno::ROFS,
                    error => error,
                },
                |_| Errno::EXIST,
            ));
        }
        let access = self.host_flags(flags)?;
        // An existing file may be known already, so it is opened all the same.
        let room = self.nodes().check_room();
        if let Err(full) = room
            && host::open_path(parent.as_fd(), name).is_err()
        {
            return Err(full);
        }
        let file = self.open_with(|| host::create(parent.as_fd(), name, access, mode & 0o1777))?;
        self.give(&request.header, parent.as_fd(), file.as_fd(), mode)?;
        let id = self.node_of(&file, Some((request.node(), name)))?;
        Ok((file, id))
    }

    pub(super) fn tmpfile(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let (flags, mode) = (request.args.u32()?, request.args.u32()?);
        self.check_handles()?;
        self.nodes().check_room()?;
        let parent = self.node_fd(request.node())?;
        let mut access = self.host_flags(flags)?;
        if flags & O_EXCL != 0 {
            // It will never get a name.
            access |= OFlags::EXCL;
        }
        let file =
            self.open_with(|| host::create_unnamed(parent.as_fd(), access, mode & 0o1777))?;
        self.give(&request.header, parent.as_fd(), file.as_fd(), mode)?;
        let id = self.node_of(&file, None)?;
        self.created(id, file, flags)
    }

    /// Replies with a file that was made and opened.
    fn created(&mut self, id: u64, file: OwnedFd, flags: u32) -> Result<Answer> {
        let stat = host::stat(file.as_fd())?;
        self.put_entry(id, &stat);
        let handle = Handle::new(id, file, false, flags);
        self.put_open(handle, 0);
        Ok(Answer::Payload)
    }

    /// The node of a file that is open.
    fn node_of(&mut self, file: &OwnedFd, seen: Option<(u64, &CStr)>) -> Result<u64> {
        let fd = self.open_with(|| self.proc_self_fd.reopen_path(file.as_fd()))?;
        let stat = host::stat(fd.as_fd())?;
        self.nodes().adopt(fd, &stat, seen)
    }

    /// Replies with what `name` is now; if it is new, and is what was made, it is given to who asked for it.
    fn entry(
        &mut self,
        request: &Request<'_>,
        name: &CStr,
        made: Option<FileType>,
    ) -> Result<Answer> {
        let (id, mut stat) = self.look_up(request.node(), name)?;
        if let Some(kind) = made
            && is_ours(&stat, kind)
        {
            let given = self.give_node(&request.header, request.node(), id);
            stat = given.inspect_err(|_| self.nodes().forget(id, 1))?;
        }
        self.put_entry(id, &stat);
        Ok(Answer::Payload)
    }

    /// Gives what was made to who asked for it; what it is like then.
    fn give_node(&self, header: &Header, parent: u64, id: u64) -> Result<Stat> {
        let parent = host::stat(self.node_fd(parent)?.as_fd())?;
        let fd = self.node_fd(id)?;
        let stat = host::stat(fd.as_fd())?;
        change_owner(header, &parent, fd.as_fd(), &stat)?;
        host::stat(fd.as_fd())
    }

    /// Gives a new regular file to who asked for it, and sets all of its mode.
    fn give(
        &self,
        header: &Header,
        parent: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        mode: u32,
    ) -> Result<()> {
        let stat = host::stat(file)?;
        change_owner(header, &host::stat(parent)?, file, &stat)?;
        if mode & (SETUID | SETGID) != 0 {
            rustix::fs::fchmod(file, host::permissions(mode))?;
        }
        Ok(())
    }
}

/// Whether what has the name of something that was just made can be it. Someone may have put another file there, which
/// must not get another owner.
fn is_ours(stat: &Stat, kind: FileType) -> bool {
    let own = stat.stx_uid == rustix::process::geteuid().as_raw();
    let single = kind == FileType::Directory || stat.stx_nlink == 1;
    host::kind(stat) == kind && own && single
}

/// Changes the owner as far as this process may. In a directory with the set-group-ID bit, the group is the directory's
/// already.
fn change_owner(header: &Header, parent: &Stat, fd: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
    let inherits = u32::from(parent.stx_mode) & SETGID != 0;
    let gid = if inherits { stat.stx_gid } else { header.gid };
    if (stat.stx_uid, stat.stx_gid) == (header.uid, gid) {
        return Ok(());
    }
    match host::chown(fd, Some(header.uid), Some(gid)) {
        // Not allowed, or not an ID in this process' user namespace.
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        result => result,
    }
}
