//! What a file is like: GETATTR, STATX, SETATTR, ACCESS, STATFS, and how that looks on the wire.

use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::host::{self, Stat};
use super::server::{Answer, Request, Result, Server};

const GETATTR_FH: u32 = 1;

// fuse_setattr_in.valid
const MODE: u32 = 1 << 0;
const UID: u32 = 1 << 1;
const GID: u32 = 1 << 2;
const SIZE: u32 = 1 << 3;
const ATIME: u32 = 1 << 4;
const MTIME: u32 = 1 << 5;
const FH: u32 = 1 << 6;
const ATIME_NOW: u32 = 1 << 7;
const MTIME_NOW: u32 = 1 << 8;
const KILL_SUIDGID: u32 = 1 << 11;

/// `access(2)`: write.
const W_OK: u32 = 2;

/// The arguments of SETATTR.
struct Changes {
    valid: u32,
    fh: u64,
    size: u64,
    times: [(u64, u32); 2],
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Changes {
    fn parse(request: &mut Request<'_>) -> Result<Self> {
        let args = &mut request.args;
        let valid = args.u32()?;
        args.skip(4)?;
        let (fh, size) = (args.u64()?, args.u64()?);
        // The owner of locks means something only where locks are mandatory.
        args.skip(8)?;
        let (atime, mtime) = (args.u64()?, args.u64()?);
        // The time of the last change of attributes is the host's to say.
        args.skip(8)?;
        let (atime_nanos, mtime_nanos) = (args.u32()?, args.u32()?);
        args.skip(4)?;
        let mode = args.u32()?;
        args.skip(4)?;
        Ok(Self {
            valid,
            fh,
            size,
            times: [(atime, atime_nanos), (mtime, mtime_nanos)],
            mode,
            uid: args.u32()?,
            gid: args.u32()?,
        })
    }

    fn has(&self, bit: u32) -> bool {
        self.valid & bit != 0
    }

    /// The times to set, if there are any.
    fn times(&self) -> Result<Option<Timestamps>> {
        if !self.has(ATIME | MTIME) {
            return Ok(None);
        }
        let time = |set: u32, now: u32, (seconds, nanos): (u64, u32)| {
            if !self.has(set) {
                return Ok(special(UTIME_OMIT));
            }
            if self.has(now) {
                return Ok(special(UTIME_NOW));
            }
            if nanos >= 1_000_000_000 {
                return Err(Errno::INVAL);
            }
            Ok(Timespec {
                // Times before 1970 come as negative numbers in this field.
                tv_sec: i64::from_ne_bytes(seconds.to_ne_bytes()),
                tv_nsec: nanos.into(),
            })
        };
        Ok(Some(Timestamps {
            last_access: time(ATIME, ATIME_NOW, self.times[0])?,
            last_modification: time(MTIME, MTIME_NOW, self.times[1])?,
        }))
    }
}

fn special(nanos: rustix::fs::Nsecs) -> Timespec {
    Timespec {
        tv_sec: 0,
        tv_nsec: nanos,
    }
}

impl Server {
    pub(super) fn getattr(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let flags = request.args.u32()?;
        request.args.skip(4)?;
        let fh = request.args.u64()?;
        let stat = self.stat_of(request.node(), (flags & GETATTR_FH != 0).then_some(fh))?;
        self.put_attr_out(&stat);
        Ok(Answer::Payload)
    }

    pub(super) fn statx(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let flags = request.args.u32()?;
        request.args.skip(4)?;
        let fh = request.args.u64()?;
        let stat = self.stat_of(request.node(), (flags & GETATTR_FH != 0).then_some(fh))?;
        let valid = self.cache.valid();
        self.out.u64(valid.as_secs());
        self.out.u32(valid.subsec_nanos());
        self.out.zeros(4 + 16);
        self.put_statx(&stat);
        Ok(Answer::Payload)
    }

    /// What a node is like; by an open handle where there is one, for the file may have lost its name.
    fn stat_of(&mut self, node: u64, fh: Option<u64>) -> Result<Stat> {
        let open = fh.and_then(|fh| self.handles().get(fh, node).ok()?.file.clone());
        if let Some(file) = open {
            return host::stat(file.as_fd());
        }
        host::stat(self.node_fd(node)?.as_fd())
    }

    pub(super) fn setattr(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let node = request.node();
        let changes = Changes::parse(&mut request)?;
        let times = changes.times()?;
        let fd = self.node_fd(node)?;
        if changes.has(MODE) {
            self.proc_self_fd.chmod(fd.as_fd(), changes.mode)?;
        }
        if changes.has(UID | GID) {
            let uid = changes.has(UID).then_some(changes.uid);
            let gid = changes.has(GID).then_some(changes.gid);
            host::chown(fd.as_fd(), uid, gid)?;
        }
        if changes.has(SIZE) {
            self.truncate(node, &changes)?;
        }
        if let Some(times) = times {
            host::set_times(fd.as_fd(), &times)?;
        }
        let stat = host::stat(fd.as_fd())?;
        self.put_attr_out(&stat);
        Ok(Answer::Payload)
    }

    fn truncate(&mut self, node: u64, changes: &Changes) -> Result<()> {
        if i64::try_from(changes.size).is_err() {
            return Err(Errno::FBIG);
        }
        let handle = changes.has(FH).then(|| self.file(changes.fh, node));
        let file = match handle {
            Some(file) => file?,
            None => std::sync::Arc::new(self.open_node(node, OFlags::WRONLY)?),
        };
        rustix::fs::ftruncate(&file, changes.size)?;
        if changes.has(KILL_SUIDGID) {
            host::kill_privileges(file.as_fd())?;
        }
        Ok(())
    }

    /// The guest judges by itself (it mounts with `default_permissions`), so this is for other clients. Supplementary
    /// groups are not known here.
    pub(super) fn access(&mut self, request: &Request<'_>) -> Result<Answer> {
        let mut args = request.args;
        let mask = args.u32()? & 7;
        let stat = self.stat_of(request.node(), None)?;
        if mask & W_OK != 0 && self.read_only {
            return Err(Errno::ROFS);
        }
        let mode = u32::from(stat.stx_mode);
        let allowed = if request.header.uid == 0 {
            // Root may all but run what nobody may run.
            let runs = host::kind(&stat) == FileType::Directory || mode & 0o111 != 0;
            if runs { 7 } else { 6 }
        } else if request.header.uid == stat.stx_uid {
            mode >> 6
        } else if request.header.gid == stat.stx_gid {
            mode >> 3
        } else {
            mode
        };
        if mask & !allowed != 0 {
            return Err(Errno::ACCESS);
        }
        Ok(Answer::Payload)
    }

    pub(super) fn statfs(&mut self, request: &Request<'_>) -> Result<Answer> {
        let fd = self.node_fd(request.node())?;
        let stat = rustix::fs::fstatfs(&*fd)?;
        for count in [
            stat.f_blocks,
            stat.f_bfree,
            stat.f_bavail,
            stat.f_files,
            stat.f_ffree,
        ] {
            self.out.u64(count);
        }
        for size in [stat.f_bsize, stat.f_namelen, stat.f_frsize] {
            self.out.u32(u32::try_from(size).unwrap_or(0));
        }
        self.out.zeros(4 + 24);
        Ok(Answer::Payload)
    }

    /// `fuse_attr_out`.
    fn put_attr_out(&mut self, stat: &Stat) {
        let valid = self.cache.valid();
        self.out.u64(valid.as_secs());
        self.out.u32(valid.subsec_nanos());
        self.out.u32(0);
        self.put_attr(stat);
    }

    /// `fuse_attr`.
    pub(super) fn put_attr(&mut self, stat: &Stat) {
        let ino = self.nodes().ino(stat);
        let out = &mut self.out;
        for value in [ino, stat.stx_size, stat.stx_blocks] {
            out.u64(value);
        }
        let times = [stat.stx_atime, stat.stx_mtime, stat.stx_ctime];
        for time in times {
            out.i64(time.tv_sec);
        }
        for time in times {
            out.u32(time.tv_nsec);
        }
        out.u32(stat.stx_mode.into());
        out.u32(stat.stx_nlink);
        out.u32(stat.stx_uid);
        out.u32(stat.stx_gid);
        out.u32(device_number(stat.stx_rdev_major, stat.stx_rdev_minor));
        out.u32(stat.stx_blksize);
        out.u32(0);
    }

    /// `fuse_statx`, which is `struct statx` without what only the host knows.
    fn put_statx(&mut self, stat: &Stat) {
        let ino = self.nodes().ino(stat);
        let out = &mut self.out;
        let basic_and_birth = 0xfff;
        out.u32(stat.stx_mask & basic_and_birth);
        out.u32(stat.stx_blksize);
        out.u64(0);
        for value in [stat.stx_nlink, stat.stx_uid, stat.stx_gid] {
            out.u32(value);
        }
        out.u16(stat.stx_mode);
        out.zeros(2);
        for value in [ino, stat.stx_size, stat.stx_blocks, 0] {
            out.u64(value);
        }
        for time in [
            stat.stx_atime,
            stat.stx_btime,
            stat.stx_ctime,
            stat.stx_mtime,
        ] {
            out.i64(time.tv_sec);
            out.u32(time.tv_nsec);
            out.u32(0);
        }
        out.u32(stat.stx_rdev_major);
        out.u32(stat.stx_rdev_minor);
        // The share's own device number, which the guest replaces by that of its mount.
        out.zeros(8 + 14 * 8);
    }
}

/// A device number as the kernel encodes it in 32 bits (`new_encode_dev`).
fn device_number(major: u32, minor: u32) -> u32 {
    minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12
}
