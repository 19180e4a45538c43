//! The system calls of the server, one function each, so that what the sandbox must allow can be read off here.
//!
//! None takes a path: each takes a descriptor, and at most one component below it that was checked by
//! [`super::wire::check_name`] and is not followed if it is a link.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Statx, StatxFlags, Timestamps, Uid,
};
use rustix::io::Errno;
use rustix::path::DecInt;

pub(super) type Stat = Statx;

/// What each open has: it never waits for a lease or a reader, and nothing is inherited.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
pub(super) const SETUID: u32 = 0o4000;
pub(super) const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

pub(super) fn stat(fd: BorrowedFd<'_>) -> Result<Stat, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted)
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// Holds what has the name, be it a link, without opening it.
pub(super) fn open_path(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// Makes a regular file that must be new, and opens it.
pub(super) fn create(
    directory: BorrowedFd<'_>,
    name: &CStr,
    flags: OFlags,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let flags = flags | ALWAYS | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    rustix::fs::openat(directory, name, flags, permissions(mode))
}

/// Makes a regular file without a name.
pub(super) fn create_unnamed(
    directory: BorrowedFd<'_>,
    flags: OFlags,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let flags = flags | ALWAYS | OFlags::TMPFILE;
    rustix::fs::openat(directory, c".", flags, permissions(mode))
}

/// `/proc/self/fd`, through which a descriptor that only holds a file is turned into one that can be used. What is there
/// is not a name that anyone could change, but the file itself.
#[derive(Debug)]
pub(super) struct ProcSelfFd(OwnedFd);

impl ProcSelfFd {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(super) fn reopen(&self, fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | ALWAYS;
        rustix::fs::openat(&self.0, DecInt::from_fd(fd), flags, Mode::empty())
    }

    pub(super) fn reopen_path(&self, fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, DecInt::from_fd(fd), flags, Mode::empty())
    }

    pub(super) fn chmod(&self, fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
        rustix::fs::chmodat(
            &self.0,
            DecInt::from_fd(fd),
            permissions(mode),
            AtFlags::empty(),
        )
    }

    /// Gives a file one more name.
    pub(super) fn link(
        &self,
        fd: BorrowedFd<'_>,
        directory: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), Errno> {
        let flags = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(&self.0, DecInt::from_fd(fd), directory, name, flags)
    }
}

pub(super) fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

/// Changes the owner, the group or both. IDs of all ones mean nothing to the guest, and "leave it" to the host.
pub(super) fn chown(fd: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
        return Err(Errno::INVAL);
    }
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH)
}

pub(super) fn set_times(fd: BorrowedFd<'_>, times: &Timestamps) -> Result<(), Errno> {
    rustix::fs::utimensat(fd, c"", times, AtFlags::EMPTY_PATH)
}

/// Takes away what makes a program run as someone else, as Linux does when one writes who may not set it.
pub(super) fn kill_privileges(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = stat(fd)?;
    let mode = u32::from(stat.stx_mode);
    let mut killed = mode & !SETUID;
    if mode & GROUP_EXECUTE != 0 {
        killed &= !SETGID;
    }
    if killed != mode && kind(&stat) == FileType::RegularFile {
        rustix::fs::fchmod(fd, permissions(killed))?;
    }
    Ok(())
}

pub(super) fn flock(fd: BorrowedFd<'_>, kind: LockKind) -> Result<(), Errno> {
    let operation = match kind {
        LockKind::Read => FlockOperation::NonBlockingLockShared,
        LockKind::Write => FlockOperation::NonBlockingLockExclusive,
        LockKind::Unlock => FlockOperation::NonBlockingUnlock,
    };
    rustix::fs::flock(fd, operation)
}

/// What a lock lets others do; F_RDLCK, F_WRLCK and F_UNLCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum LockKind {
    Read,
    Write,
    Unlock,
}

impl LockKind {
    pub(super) fn parse(raw: u32) -> Result<Self, Errno> {
        match raw {
            0 => Ok(Self::Read),
            1 => Ok(Self::Write),
            2 => Ok(Self::Unlock),
            _ => Err(Errno::INVAL),
        }
    }

    pub(super) fn raw(self) -> u32 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Unlock => 2,
        }
    }
}

/// Bytes of a file from the first to the last, both included; the last is `i64::MAX` for "to the end".
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Range {
    pub(super) first: i64,
    pub(super) last: i64,
}

/// Locks a range for the open file description, without waiting: EAGAIN if someone else has it.
pub(super) fn lock_range(fd: BorrowedFd<'_>, kind: LockKind, range: Range) -> Result<(), Errno> {
    range_call(fd, libc::F_OFD_SETLK, kind, range).map(|_| ())
}

/// What keeps the open file description from locking a range; none if nothing does.
pub(super) fn conflict(
    fd: BorrowedFd<'_>,
    kind: LockKind,
    range: Range,
) -> Result<Option<(LockKind, Range)>, Errno> {
    let found = range_call(fd, libc::F_OFD_GETLK, kind, range)?;
    let kind = LockKind::parse(u32::try_from(found.l_type).map_err(|_| Errno::INVAL)?)?;
    let last = match found.l_len {
        0 => i64::MAX,
        len => found.l_start.saturating_add(len - 1),
    };
    let range = Range {
        first: found.l_start,
        last,
    };
    Ok((kind != LockKind::Unlock).then_some((kind, range)))
}

fn range_call(
    fd: BorrowedFd<'_>,
    command: i32,
    kind: LockKind,
    range: Range,
) -> Result<libc::flock, Errno> {
    let len = match range.last {
        i64::MAX => 0,
        last => last - range.first + 1,
    };
    let mut lock = libc::flock {
        l_type: i16::try_from(kind.raw()).map_err(|_| Errno::INVAL)?,
        l_whence: 0,
        l_start: range.first,
        l_len: len,
        l_pid: 0,
    };
    // SAFETY: both commands read and write the one structure that is passed, and nothing else.
    #[allow(unsafe_code)]
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    Ok(lock)
}

/// Whether two descriptors are of the same file.
pub(super) fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (one, other) = (stat(one)?, stat(other)?);
    let device = |stat: &Stat| (stat.stx_dev_major, stat.stx_dev_minor);
    Ok(one.stx_ino == other.stx_ino && device(&one) == device(&other))
}
