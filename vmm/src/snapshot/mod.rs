//! Snapshots of one microVM: its state in a file, and its memory in another.
//!
//! ```text
//! format/   the state's file                     memory/   the memory's file: its label, which pages go into it, how it is mapped, and its working set
//! vcpu.rs   a vCPU's state of KVM                create.rs  writes both, while the machine stands still
//! board.rs  what vCPUs share of it               live.rs    does it while the machine runs, by a copy of the process
//! host.rs   whether this host can run it         copy.rs    that copy
//! load.rs   reads the state, and says what the   errands.rs the thread that writes
//!           machine is to be
//! ```
//!
//! The state names its memory by a random label, which is written behind the memory as well, so that neither is ever used with
//! another. Both are written under no name, and get their names when they are whole, the state last.

mod board;
mod copy;
pub(crate) mod create;
pub(crate) mod errands;
pub mod format;
mod host;
pub(crate) mod live;
pub(crate) mod load;
pub mod memory;
pub(crate) mod vcpu;

pub use format::{FormatError, Snapshot};
pub use memory::MemoryFileError;
