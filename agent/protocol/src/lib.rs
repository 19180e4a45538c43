//! The frames that engine and agent exchange: one channel is one vsock connection, and carries one
//! process. `README.md` beside this crate describes the states and the rules; the modules hold the
//! types. Used by `hull-agent` (one end) and by `hull-engine` (the other).
//!
//! Nothing in this crate does I/O; everything in it treats received bytes as hostile.

#![doc = include_str!("../README.md")]

mod capability;
mod configure;
mod engine_end;
mod files;
mod frame;
mod message;
mod mount;
mod network;
mod outcome;
mod rlimit;
mod start;
mod stats;
mod window;

pub use capability::{Capabilities, CapabilitySet, UnknownCapability};
pub use configure::{Adopt, Clock, Configure, CpuQuota, Identity, Limits, Root, Sysctl};
pub use engine_end::{EngineEnd, Event, Violation};
pub use files::{Change, ChangeKind, Changes, FileStat, Files, MAX_PATH, Malformed, Write};
pub use frame::{
    Frame, FrameError, HEADER_LEN, MAX_DATA, Received, decode, encode, encode_data, header,
};
pub use message::{FromAgent, Message, Stream, ToAgent};
pub use mount::{HostSocket, Mount, MountSource, Share};
pub use network::{Address, Interface, Network};
pub use outcome::{ExitStatus, Failure, FailureKind};
pub use rlimit::{Resource, Rlimit, UnknownResource};
pub use start::{Place, Start, Stdio, TtySize};
pub use stats::{
    CpuStats, DiskStats, InterfaceStats, MemoryStats, ProcessInfo, Processes, Stats, Traffic,
};
pub use window::{Overrun, ReceiveWindow, SendWindow};

/// The version of everything in this crate. Engine and agent of one build always agree; a guest
/// restored from an older template may not, which is what the handshake finds out.
///
/// With 5 came sockets of the host among the mounts, with 4 that a layer is made of a container that is frozen.
pub const VERSION: u32 = 5;

/// The vsock port on which the agent listens in the guest, and to which it connects on the host.
pub const PORT: u32 = 1024;

/// The vsock port of the guest that is its power button: a connection to it, which carries nothing,
/// does what `Shutdown` does. `hull-vmm` presses it when it is asked to end.
pub const POWER_PORT: u32 = 1025;
