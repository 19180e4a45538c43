//! What a user may say about a shared directory, what the VMM hands over, and what the driver reads (virtio 1.2, section
//! 5.11.4).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes of a tag.
pub(super) const TAG_BYTES: usize = 36;
/// The most request queues.
pub(super) const MAX_QUEUES: u16 = 16;
/// Descriptors of the high-priority queue.
const HIGH_PRIORITY_SIZE: u16 = 128;
/// Descriptors of a request queue. Linux takes requests of no more pages than fit a queue.
const REQUEST_SIZE: u16 = 1024;
/// The most requests for locks that wait: see `waiting.rs`.
pub(super) const MAX_WAITING: usize = REQUEST_SIZE as usize / 8;
/// How many requests go on at once where there are few queues, in all and of one queue.
const IN_FLIGHT: usize = 8;
const IN_FLIGHT_OF_QUEUE: usize = 4;
/// The fewest descriptors with which a share is of use.
pub(super) const MIN_DESCRIPTORS: usize = 64;

/// How long the guest may believe what it was told about files. Whatever the mode, what the guest writes is with the host
/// at once, for the guest keeps no dirty pages beyond the end of `write(2)`, except of shared mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FsCache {
    /// Names and attributes for one second. Contents are kept when a file is opened again and has not changed, and are
    /// dropped when an attribute shows a change. An editor on the host and a server that reloads in the guest get along.
    /// A name that was missing is asked for anew each time, so a new file is there at once.
    #[default]
    Auto,
    /// Names, attributes and contents for a day: the fastest, for directories that nobody else changes.
    Always,
    /// Nothing: each access asks the host, and contents are read from it.
    Never,
}

impl FsCache {
    /// For how long a name or attributes are good.
    pub(super) fn valid(self) -> Duration {
        match self {
            Self::Auto => Duration::from_secs(1),
            Self::Always => Duration::from_secs(24 * 60 * 60),
            Self::Never => Duration::ZERO,
        }
    }
}

/// What a user may say about a shared directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsConfig {
    /// What the guest mounts: `mount -t virtiofs TAG DIR`. 1 to 36 bytes without a NUL.
    pub tag: String,
    /// Whether all that changes something is refused.
    pub read_only: bool,
    /// How long the guest may believe what it was told.
    pub cache: FsCache,
    /// Request queues, 1 to 16. None stalls another, whatever the files do that its requests are about.
    pub queues: u16,
}

/// What a shared directory works with.
#[derive(Debug)]
pub struct FsBackend {
    /// The directory; `O_PATH | O_DIRECTORY` is enough. Nothing outside of it is reached, except what is mounted in it.
    pub root: OwnedFd,
    /// `/proc/self/fd` of this very process, opened before its sandbox closed; `O_PATH | O_DIRECTORY` is enough. It is how
    /// a file that was found is opened for use, without asking for its name again.
    pub proc_self_fd: OwnedFd,
    /// The most descriptors that the device may keep open, 64 or more: a share of RLIMIT_NOFILE. A quarter is for open
    /// files and locks; opening more than that fails with ENFILE. The rest is for files that the guest only knows, where
    /// the ones that were not used for the longest time are closed, and found again by their names.
    pub descriptors: usize,
    /// The most files that the guest may know at a time; a lookup beyond that fails with ENFILE. Each costs about 300
    /// bytes.
    pub nodes: usize,
}

/// Why there is no shared directory.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The tag does not fit.
    #[error(
        "a shared directory can't have the tag {0:?}: give it one of 1 to 36 bytes without a NUL"
    )]
    Tag(String),
    /// Too few or too many.
    #[error("a shared directory can't have {0} request queues: give it 1 to 16")]
    Queues(u16),
    /// Too few.
    #[error("a shared directory can't work with {0} descriptors: allow it 64 or more")]
    Descriptors(usize),
    /// It is gone, or no directory.
    #[error("can't share the directory")]
    Root(#[source] io::Error),
    /// It belongs to another process, or is something else.
    #[error("/proc/self/fd is not the one of this process")]
    ProcSelfFd,
    /// The kernel refused a timer.
    #[error("can't make a timer for the locks of a shared directory")]
    Timer(#[source] io::Error),
}

impl FsConfig {
    pub(super) fn check(&self) -> Result<(), FsError> {
        let tag = self.tag.as_bytes();
        if tag.is_empty() || tag.len() > TAG_BYTES || tag.contains(&0) {
            return Err(FsError::Tag(self.tag.clone()));
        }
        if self.queues == 0 || self.queues > MAX_QUEUES {
            return Err(FsError::Queues(self.queues));
        }
        Ok(())
    }

    /// The high-priority queue and the request queues.
    pub(super) fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = vec![REQUEST_SIZE; usize::from(self.queues) + 1];
        sizes[0] = HIGH_PRIORITY_SIZE;
        sizes
    }

    /// How many requests of each queue go on at once.
    pub(super) fn in_flight(&self) -> usize {
        let queues = usize::from(self.queues.max(1));
        (IN_FLIGHT / queues).clamp(1, IN_FLIGHT_OF_QUEUE)
    }

    /// The configuration space: `tag`, `num_request_queues`.
    pub(super) fn space(&self) -> [u8; TAG_BYTES + 4] {
        let mut space = [0; TAG_BYTES + 4];
        for (place, byte) in space.iter_mut().zip(self.tag.bytes()) {
            *place = byte;
        }
        space[TAG_BYTES..].copy_from_slice(&u32::from(self.queues).to_le_bytes());
        space
    }
}
