//! Open files: OPEN, RELEASE, READ, WRITE, FLUSH, FSYNC, SYNCFS, FALLOCATE, LSEEK, COPY_FILE_RANGE.

use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use rustix::fs::{FallocateFlags, FileType, OFlags, SeekFrom};
use rustix::io::Errno;

use super::config::FsCache;
use super::handles::Handle;
use super::host::{self, Stat};
use super::init::MAX_IO;
use super::nodes::{ROOT, Stamp};
use super::server::{Answer, Request, Result, Server, errno, to_u64};

// Flags of open(2) on x86-64, where guest and host have the same.
const O_ACCMODE: u32 = 0o3;
const O_APPEND: u32 = 0o2000;

/// fuse_open_in.open_flags: take privileges away if the file is truncated.
const OPEN_KILL_SUIDGID: u32 = 1;
// fuse_open_out.open_flags
const FOPEN_DIRECT_IO: u32 = 1 << 0;
pub(super) const FOPEN_KEEP_CACHE: u32 = 1 << 1;
pub(super) const FOPEN_CACHE_DIR: u32 = 1 << 3;
// fuse_write_in.write_flags
const WRITE_CACHE: u32 = 1 << 0;
const WRITE_KILL_SUIDGID: u32 = 1 << 2;
const RELEASE_FLOCK_UNLOCK: u32 = 1 << 1;
const FDATASYNC: u32 = 1;

const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// The most bytes that one COPY_FILE_RANGE moves; the guest asks again for the rest.
const MAX_COPY: u64 = 16 << 20;

impl Server {
    /// The flags with which the host opens what the guest opens so. O_APPEND is not among them: a page of a shared
    /// mapping may be written through any handle of the file, and belongs where it is. Nor is O_DIRECT, which has rules
    /// for buffers that the guest does not know.
    pub(super) fn host_flags(&self, flags: u32) -> Result<OFlags> {
        let access = match flags & O_ACCMODE {
            0 => OFlags::RDONLY,
            1 => OFlags::WRONLY,
            2 => OFlags::RDWR,
            _ => return Err(Errno::INVAL),
        };
        let kept = OFlags::TRUNC | OFlags::SYNC | OFlags::DSYNC;
        let kept = OFlags::from_bits_retain(flags & kept.bits());
        if self.read_only && (access != OFlags::RDONLY || kept.contains(OFlags::TRUNC)) {
            return Err(Errno::ROFS);
        }
        Ok(access | kept)
    }

    /// Opens a regular file. All others are never opened here: the guest's kernel has its own pipes and devices.
    pub(super) fn open_node(&mut self, node: u64, flags: OFlags) -> Result<OwnedFd> {
        let kind = self.nodes().kind(node)?;
        match kind {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR),
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::NXIO),
        }
        let fd = self.node_fd(node)?;
        self.open_with(|| self.proc_self_fd.reopen(fd.as_fd(), flags))
    }

    pub(super) fn open(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let (flags, open_flags) = (request.args.u32()?, request.args.u32()?);
        self.check_handles()?;
        self.open_file(request.node(), flags, open_flags)?;
        Ok(Answer::Payload)
    }

    pub(super) fn open_file(&mut self, node: u64, flags: u32, open_flags: u32) -> Result<()> {
        let wanted = self.host_flags(flags)?;
        let file = self.open_node(node, wanted)?;
        if wanted.contains(OFlags::TRUNC) && open_flags & OPEN_KILL_SUIDGID != 0 {
            host::kill_privileges(file.as_fd())?;
        }
        let keep = match self.cache {
            FsCache::Always => FOPEN_KEEP_CACHE,
            FsCache::Never => FOPEN_DIRECT_IO,
            FsCache::Auto => {
                let stamp = settled_stamp(&host::stat(file.as_fd())?);
                let before = self.nodes().stamp(node, stamp);
                let same = stamp.is_some() && stamp == before;
                if same { FOPEN_KEEP_CACHE } else { 0 }
            }
        };
        self.put_open(Handle::new(node, file, false, flags), keep);
        Ok(())
    }

    /// `fuse_open_out` of a new handle.
    pub(super) fn put_open(&mut self, handle: Handle, open_flags: u32) {
        self.nodes().opened(handle.node);
        let id = self.handles().insert(handle);
        self.out.u64(id);
        self.out.u32(open_flags);
        self.out.u32(0);
    }

    pub(super) fn release(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let fh = request.args.u64()?;
        request.args.skip(4)?;
        let flags = request.args.u32()?;
        let handle = self.handles().remove(fh, request.node())?;
        self.nodes().closed(handle.node);
        let unlocks = handle.flock.is_some() || flags & RELEASE_FLOCK_UNLOCK != 0;
        // Closing gives up the lock of flock(2) with it.
        drop(handle);
        self.note_unlock(unlocks);
        Ok(Answer::Payload)
    }

    pub(super) fn read(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let (fh, offset) = (request.args.u64()?, request.args.u64()?);
        let size = u64::from(request.args.u32()?.min(MAX_IO)).min(request.room);
        let file = self.file(fh, request.node())?;
        let target = request.target.part(0, size);
        let mut done = 0;
        while done < size {
            let at = offset.checked_add(done).ok_or(Errno::INVAL)?;
            let rest = target.part(done, size);
            match self.scatter.read_at(rest, file.as_fd(), at) {
                Ok(0) => break,
                Ok(count) => done += to_u64(count),
                Err(_) if done > 0 => break,
                Err(error) => return Err(errno(&error)),
            }
        }
        self.counters.read_count.count();
        self.counters.read_bytes.add(done);
        Ok(Answer::Data(usize::try_from(done).unwrap_or(0)))
    }

    pub(super) fn write(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let (fh, offset) = (request.args.u64()?, request.args.u64()?);
        let (size, write_flags) = (request.args.u32()?, request.args.u32()?);
        request.args.skip(8)?;
        let flags = request.args.u32()?;
        if size > MAX_IO || u64::from(size) > request.data.len {
            return Err(Errno::INVAL);
        }
        let file = self.file(fh, request.node())?;
        let appends = flags & O_APPEND != 0 && write_flags & WRITE_CACHE == 0;
        let (size, mut done) = (u64::from(size), 0);
        while done < size {
            let at = offset.checked_add(done).ok_or(Errno::INVAL)?;
            let rest = request.data.part(done, size - done);
            let written = if appends {
                self.scatter.append(rest, file.as_fd())
            } else {
                self.scatter.write_at(rest, file.as_fd(), at)
            };
            match written {
                Ok(0) => break,
                Ok(count) => done += to_u64(count),
                Err(_) if done > 0 => break,
                Err(error) => return Err(errno(&error)),
            }
        }
        if write_flags & WRITE_KILL_SUIDGID != 0 {
            host::kill_privileges(file.as_fd())?;
        }
        self.counters.write_count.count();
        self.counters.write_bytes.add(done);
        self.out.u32(u32::try_from(done).unwrap_or(0));
        self.out.u32(0);
        Ok(Answer::Payload)
    }

    /// A process closes one of its descriptors, and with that gives up its locks of the file.
    pub(super) fn flush(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let fh = request.args.u64()?;
        request.args.skip(8)?;
        let owner = request.args.u64()?;
        self.file(fh, request.node())?;
        let released = self.release_locks(request.node(), owner);
        self.note_unlock(released);
        Ok(Answer::Payload)
    }

    pub(super) fn fsync(&mut self, mut request: Request<'_>, directory: bool) -> Result<Answer> {
        let (fh, flags) = (request.args.u64()?, request.args.u32()?);
        let file = if directory {
            self.handles().directory(fh, request.node())?.clone()
        } else {
            self.file(fh, request.node())?
        };
        if self.read_only {
            return Ok(Answer::Payload);
        }
        if flags & FDATASYNC != 0 {
            rustix::fs::fdatasync(file)?;
        } else {
            rustix::fs::fsync(file)?;
        }
        Ok(Answer::Payload)
    }

    pub(super) fn syncfs(&mut self) -> Result<Answer> {
        if !self.read_only {
            let root = self.node_fd(ROOT)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let open = || self.proc_self_fd.reopen(root.as_fd(), flags);
            rustix::fs::syncfs(self.open_with(open)?)?;
        }
        Ok(Answer::Payload)
    }

    pub(super) fn fallocate(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let args = &mut request.args;
        let (fh, offset, len, mode) = (args.u64()?, args.u64()?, args.u64()?, args.u32()?);
        let known =
            FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
        let mode = FallocateFlags::from_bits(mode)
            .filter(|mode| known.contains(*mode))
            .ok_or(Errno::OPNOTSUPP)?;
        if i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
            return Err(Errno::INVAL);
        }
        let file = self.file(fh, request.node())?;
        rustix::fs::fallocate(file, mode, offset, len)?;
        Ok(Answer::Payload)
    }

    /// Finds data or holes; the other kinds of seeking are the guest's own business.
    pub(super) fn lseek(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let args = &mut request.args;
        let (fh, offset, whence) = (args.u64()?, args.u64()?, args.u32()?);
        if i64::try_from(offset).is_err() {
            return Err(Errno::NXIO);
        }
        let to = match whence {
            SEEK_DATA => SeekFrom::Data(offset),
            SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let file = self.file(fh, request.node())?;
        let found = rustix::fs::seek(file, to)?;
        self.out.u64(found);
        Ok(Answer::Payload)
    }

    pub(super) fn copy_file_range(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let args = &mut request.args;
        let (fh_in, mut off_in, node_out) = (args.u64()?, args.u64()?, args.u64()?);
        let (fh_out, mut off_out, len) = (args.u64()?, args.u64()?, args.u64()?);
        if args.u64()? != 0 {
            return Err(Errno::INVAL);
        }
        if i64::try_from(off_in).is_err() || i64::try_from(off_out).is_err() {
            return Err(Errno::INVAL);
        }
        let len = len.min(MAX_COPY);
        let source = self.file(fh_in, request.node())?;
        let target = self.file(fh_out, node_out)?;
        let copied = rustix::fs::copy_file_range(
            source,
            Some(&mut off_in),
            target,
            Some(&mut off_out),
            usize::try_from(len).map_err(|_| Errno::INVAL)?,
        )?;
        self.out.u32(u32::try_from(copied).unwrap_or(0));
        self.out.u32(0);
        Ok(Answer::Payload)
    }
}

/// What a file's contents are like, if a later change can be told from it: a file that was changed within the last second
/// may change once more within the same tick of the clock that its times are taken from.
fn settled_stamp(stat: &Stat) -> Option<Stamp> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.map_or(0, |now| now.as_secs())).unwrap_or(0);
    (stat.stx_ctime.tv_sec < now - 1).then_some(Stamp {
        size: stat.stx_size,
        changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
    })
}
