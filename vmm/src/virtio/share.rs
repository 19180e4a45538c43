//! Directories of the host in the guest.

use hull_devices::DeviceState;
use hull_devices::fs::{Fs, FsBackend, FsCache, FsConfig, FsState};
use hull_vm_api::config::{Share, ShareCache};
use rustix::process::{Resource, getrlimit};

use super::devices::First;
use super::lane::Threads;
use super::{Made, Name, saved};
use crate::error::StartError;
use crate::files::Files;
use crate::sandbox::Fence;

/// Descriptors that are left to everything else.
const RESERVED: u64 = 512;
/// What a share has at most. More gains nothing.
const MAX_DESCRIPTORS: u64 = 64 << 10;
/// Files that a guest may know at a time, of each share.
const NODES: usize = 1 << 20;

/// Makes one of `count` shares, or restores it.
pub(super) fn make(
    share: &Share,
    count: usize,
    files: &Files,
    saved: Option<&DeviceState>,
) -> Result<Made, StartError> {
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
    let root = files.directory("shares.path", &share.path)?;
    let fence = Fence {
        directory: root
            .try_clone()
            .map_err(StartError::host("a descriptor for a share"))?,
        read_only: share.read_only,
    };
    let backend = FsBackend {
        root,
        proc_self_fd: files
            .own_descriptors()
            .map_err(StartError::host("/proc/self/fd for a share"))?,
        descriptors: descriptors(count),
        nodes: NODES,
    };
    let fs = Fs::new(config, backend).map_err(|source| StartError::Share {
        tag: share.tag.clone(),
        source,
    })?;
    let first = match saved {
        None => None,
        Some(DeviceState::Fs(state)) => Some(take_up(&share.tag, state.clone())),
        Some(_) => return Err(saved::other(&Name::Share(share.tag.clone()))),
    };
    Ok(Made {
        threads: Threads::Alike(fs.threads()),
        device: Box::new(fs),
        rates: Vec::new(),
        fence: Some(fence),
        first,
    })
}

/// Looks for the files that the guest knew: with the rights of the share's thread, which alone may see all of them.
fn take_up(tag: &str, state: FsState) -> First {
    let name = Name::Share(tag.to_owned());
    Box::new(move |transport| {
        let taken = transport.with_device(|fs: &mut Fs| fs.take_up(&state));
        let taken = taken.ok_or_else(|| saved::other(&name))?;
        taken.map_err(|error| saved::unlike(&name, error))
    })
}

/// How many descriptors a share can have, of those that the process can.
fn descriptors(shares: usize) -> usize {
    let all = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = all.saturating_sub(RESERVED) / u64::try_from(shares.max(1)).unwrap_or(u64::MAX);
    usize::try_from(each.clamp(64, MAX_DESCRIPTORS)).unwrap_or(64)
}
