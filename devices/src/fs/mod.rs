//! virtio-fs (virtio 1.2, section 5.11): a directory of the host in the guest, by FUSE.
//!
//! The device carries FUSE requests of the guest's kernel to a server in this process, which does them by system calls.
//!
//! ```text
//! config.rs   what a user may say                  device.rs     queues: requests in, replies out
//! server.rs   one request: read, done, answered    waiting.rs    requests for locks that someone else has
//! wire.rs     FUSE's numbers and structures        state.rs      what is saved, and how it is found again
//! init.rs     what is negotiated                   host.rs       system calls
//! nodes.rs    files that the guest knows           handles.rs    files that it has open
//! find.rs     how they are found                   work.rs       what threads do
//! counters.rs for metrics
//! lookup.rs, attr.rs, create.rs, file.rs, directory.rs, xattr.rs, locks.rs: the requests
//! ```
//!
//! **It can't leave its directory.** The guest names files by node IDs, which stand for descriptors, and by single
//! components below those, which are never "..", nor followed if they are links. So neither a link nor a race leads out;
//! what someone on the host moves out of the directory while the guest knows it stays within the guest's reach, as it does
//! for any process that has it open. Devices and pipes are never opened here, and no device can be made.
//!
//! **Who is who.** The guest judges by owner, group and mode (it mounts with `default_permissions`), and the server does
//! what it asks as itself. New files are given to the guest's user where this process may do that; see `create.rs`.
//!
//! **What it needs.** The process' umask must be 0. Its system calls are: openat (also with O_PATH and O_TMPFILE), statx,
//! fstatfs, readlinkat, getdents64, lseek, preadv, pwritev, pwritev2, ftruncate, fallocate, copy_file_range, fsync,
//! fdatasync, syncfs, mkdirat, mknodat, symlinkat, linkat, unlinkat, renameat2, fchmod, fchmodat, fchownat, utimensat,
//! fgetxattr, fsetxattr, flistxattr, fremovexattr, flock, fcntl (F_OFD_SETLK, F_OFD_GETLK), geteuid, timerfd_create,
//! timerfd_settime, read, close, clock_gettime. A share that is read-only needs none of those that change files.

mod attr;
mod config;
mod counters;
mod create;
mod device;
mod directory;
mod file;
mod find;
mod handles;
mod host;
mod init;
mod locks;
mod lookup;
mod nodes;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod waiting;
mod wire;
mod work;
mod xattr;

pub use config::{FsBackend, FsCache, FsConfig, FsError};
pub use counters::FsCounters;
pub use device::Fs;
pub use init::Session;
pub use state::{FsRestoreError, FsState, HandleState, NodeState, RangeLockState, WaitingState};
