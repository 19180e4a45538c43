//! Directories of the host in the guest.

use std::os::fd::OwnedFd;
use std::path::Path;

use hull_devices::fs::{Fs, FsBackend, FsCache, FsConfig};
use hull_vm_api::config::{Share, ShareCache};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::Made;
use crate::error::StartError;
use crate::files::Files;

/// Descriptors that are left to everything else.
const RESERVED: u64 = 512;
/// What a share has at most. More gains nothing.
const MAX_DESCRIPTORS: u64 = 64 << 10;
/// Files that a guest may know at a time, of each share.
const NODES: usize = 1 << 20;

/// Makes one of `count` shares.
pub(super) fn make(share: &Share, count: usize, files: &Files) -> Result<Made, StartError> {
    let config = FsConfig {
        tag: share.tag.clone(),
        read_only: share.read_only,
        cache: match share.cache {
            ShareCache::Auto => FsCache::Auto,
            ShareCache::Always => FsCache::Always,
            ShareCache::Never => FsCache::Never,
        },
        queues: share.queues.into(),
    };
    let backend = FsBackend {
        root: files.directory("shares.path", &share.path)?,
        proc_self_fd: directory(Path::new("/proc/self/fd"))
            .map_err(StartError::host("/proc/self/fd for a share"))?,
        descriptors: descriptors(count),
        nodes: NODES,
    };
    // The guest's modes are to be those of the files: a share's server must have no mask.
    rustix::process::umask(Mode::empty());
    let fs = Fs::new(config, backend);
    let fs = fs.map_err(|source| StartError::Share {
        tag: share.tag.clone(),
        source,
    })?;
    Ok(Made {
        threads: fs.threads(),
        device: Box::new(fs),
        rates: Vec::new(),
    })
}

fn directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
}

/// How many descriptors a share can have. The process may have as many as it can get.
fn descriptors(shares: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        limit.current = limit.maximum;
        // Refused, the old one holds.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let all = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = all.saturating_sub(RESERVED) / u64::try_from(shares.max(1)).unwrap_or(u64::MAX);
    usize::try_from(each.clamp(64, MAX_DESCRIPTORS)).unwrap_or(64)
}
