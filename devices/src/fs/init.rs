//! INIT: what the two sides agree on.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::config::FsCache;
use super::server::{Answer, Request, Result, Server};

const MAJOR: u32 = 7;
/// The oldest protocol that is spoken: Linux 5.4.
const OLDEST_MINOR: u32 = 31;
/// The newest: Linux 6.6. Newer guests speak it too.
const NEWEST_MINOR: u32 = 39;

const ASYNC_READ: u64 = 1 << 0;
const POSIX_LOCKS: u64 = 1 << 1;
const ATOMIC_O_TRUNC: u64 = 1 << 3;
const BIG_WRITES: u64 = 1 << 5;
const FLOCK_LOCKS: u64 = 1 << 10;
const AUTO_INVAL_DATA: u64 = 1 << 12;
const DO_READDIRPLUS: u64 = 1 << 13;
const READDIRPLUS_AUTO: u64 = 1 << 14;
const ASYNC_DIO: u64 = 1 << 15;
const PARALLEL_DIROPS: u64 = 1 << 18;
const MAX_PAGES: u64 = 1 << 22;
const CACHE_SYMLINKS: u64 = 1 << 23;
const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
pub(super) const SETXATTR_EXT: u64 = 1 << 29;
const INIT_EXT: u64 = 1 << 30;
const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;

/// What is wanted whatever the cache does. Not wanted, and why:
/// - WRITEBACK_CACHE: what the guest writes should be with the host, and with other guests, when `write(2)` returns;
/// - DONT_MASK: so the guest applies the umask of the process, and the mode that comes is the one that is meant;
/// - POSIX_ACL: lists are stored, and the host applies a directory's default list to new files, but the guest judges by
///   owner, group and mode;
/// - SUBMOUNTS: what is mounted within the share is part of it, with inode numbers that are made different;
/// - HAS_INODE_DAX, MAP_ALIGNMENT: the device has no shared memory region;
/// - EXPORT_SUPPORT: it looks up "..", which is never done here.
const WANTED: u64 = ASYNC_READ
    | POSIX_LOCKS
    | ATOMIC_O_TRUNC
    | BIG_WRITES
    | FLOCK_LOCKS
    | DO_READDIRPLUS
    | READDIRPLUS_AUTO
    | ASYNC_DIO
    | PARALLEL_DIROPS
    | MAX_PAGES
    | HANDLE_KILLPRIV_V2
    | SETXATTR_EXT
    | INIT_EXT
    | DIRECT_IO_ALLOW_MMAP;

const PAGE: u32 = 4096;
/// Pages in one READ or WRITE where the guest lets us say, and where not.
const PAGES: u16 = 256;
const DEFAULT_PAGES: u16 = 32;
/// The most bytes that one READ or WRITE moves.
pub(super) const MAX_IO: u32 = PAGES as u32 * PAGE;
/// Requests that the guest sends ahead (read-ahead, asynchronous I/O), and where it begins to hold back.
const MAX_BACKGROUND: u16 = 64;
const CONGESTION: u16 = 48;

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The FUSE_INIT flags that are in force, from both words.
    pub flags: u64,
}

impl Server {
    pub(super) fn init(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let args = &mut request.args;
        let (major, minor) = (args.u32()?, args.u32()?);
        if major > MAJOR {
            // The guest tries again with ours.
            self.out.u32(MAJOR);
            self.out.u32(NEWEST_MINOR);
            self.out.zeros(56);
            return Ok(Answer::Payload);
        }
        if major < MAJOR || minor < OLDEST_MINOR {
            return Err(Errno::PROTO);
        }
        let (max_readahead, flags) = (args.u32()?, args.u32()?);
        let mut offered = u64::from(flags);
        if offered & INIT_EXT != 0 {
            offered |= u64::from(args.u32()?) << 32;
        }
        // Whoever was here before is gone.
        drop(self.end_session());
        let flags = offered & wanted(self.cache);
        self.set_session(Some(Session { flags }));
        let pages = if flags & MAX_PAGES == 0 {
            DEFAULT_PAGES
        } else {
            PAGES
        };
        self.out.u32(MAJOR);
        self.out.u32(minor.min(NEWEST_MINOR));
        self.out.u32(max_readahead.min(MAX_IO));
        self.out.u32(low_half(flags));
        self.out.u16(MAX_BACKGROUND);
        self.out.u16(CONGESTION);
        self.out.u32(u32::from(pages) * PAGE);
        // Times have nanoseconds.
        self.out.u32(1);
        self.out.u16(pages);
        self.out.u16(0);
        self.out.u32(low_half(flags >> 32));
        self.out.zeros(28);
        Ok(Answer::Payload)
    }

    pub(super) fn has(&self, flag: u64) -> bool {
        self.session()
            .is_some_and(|session| session.flags & flag != 0)
    }
}

fn wanted(cache: FsCache) -> u64 {
    match cache {
        FsCache::Auto => WANTED | AUTO_INVAL_DATA | CACHE_SYMLINKS,
        FsCache::Always => WANTED | CACHE_SYMLINKS,
        FsCache::Never => WANTED | AUTO_INVAL_DATA,
    }
}

fn low_half(flags: u64) -> u32 {
    // Masked, so nothing is lost.
    u32::try_from(flags & 0xffff_ffff).unwrap_or_default()
}
