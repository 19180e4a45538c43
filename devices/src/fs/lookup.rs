//! Names: LOOKUP, FORGET, READLINK, UNLINK, RMDIR, RENAME.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::config::FsCache;
use super::server::{Answer, Request, Result, Server};
use super::wire::LINK_MAX;

impl Server {
    pub(super) fn lookup(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let name = request.args.name()?;
        match self.look_up(request.node(), name) {
            Ok((id, stat)) => self.put_entry(id, &stat),
            // The guest may remember for a while that there is nothing.
            Err(Errno::NOENT) if self.cache == FsCache::Always => {
                let valid = self.cache.valid();
                self.out.zeros(16);
                self.out.u64(valid.as_secs());
                self.out.zeros(8);
                self.out.u32(valid.subsec_nanos());
                self.out.zeros(4 + 88);
            }
            Err(error) => return Err(error),
        }
        Ok(Answer::Payload)
    }

    pub(super) fn forget(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let count = request.args.u64()?;
        self.nodes().forget(request.node(), count);
        Ok(Answer::Silent)
    }

    pub(super) fn batch_forget(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let count = request.args.u32()?;
        request.args.skip(4)?;
        for _ in 0..count {
            // It ends with the arguments, whatever the count says.
            let (node, count) = (request.args.u64()?, request.args.u64()?);
            self.nodes().forget(node, count);
        }
        Ok(Answer::Silent)
    }

    pub(super) fn readlink(&mut self, request: &Request<'_>) -> Result<Answer> {
        let fd = self.node_fd(request.node())?;
        self.out.fill(LINK_MAX + 1, |buffer| {
            rustix::fs::readlinkat_raw(&*fd, c"", buffer)
        })?;
        Ok(Answer::Payload)
    }

    pub(super) fn unlink(&mut self, mut request: Request<'_>, directory: bool) -> Result<Answer> {
        let name = request.args.name()?;
        let parent = self.node_fd(request.node())?;
        let flags = if directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        rustix::fs::unlinkat(&*parent, name, flags)?;
        Ok(Answer::Payload)
    }

    pub(super) fn rename(&mut self, mut request: Request<'_>, with_flags: bool) -> Result<Answer> {
        let new_parent = request.args.u64()?;
        let mut flags = RenameFlags::empty();
        if with_flags {
            let raw = request.args.u32()?;
            request.args.skip(4)?;
            let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
            flags = RenameFlags::from_bits(raw).ok_or(Errno::INVAL)?;
            if !known.contains(flags) {
                return Err(Errno::INVAL);
            }
        }
        let (old_name, new_name) = (request.args.name()?, request.args.name()?);
        let old = self.node_fd(request.node())?;
        let new = self.node_fd(new_parent)?;
        rustix::fs::renameat_with(old.as_fd(), old_name, new.as_fd(), new_name, flags)?;
        self.note_place(new_parent, new_name);
        if flags.contains(RenameFlags::EXCHANGE) {
            self.note_place(request.node(), old_name);
        }
        Ok(Answer::Payload)
    }
}
