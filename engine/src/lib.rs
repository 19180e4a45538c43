//! Containers: images, disks, microVMs and agents put together.
//!
//! [`Engine`] is the door: `create`, `attach`, `start`, `wait`, `remove`, in that order. A container's
//! files are `container`'s, its machine is `vm`'s, the talk with its agent `session`'s; `running` and
//! `ending` put them together at the two ends of its life.

mod attachment;
mod container;
mod control;
mod disk;
pub mod doctor;
mod ending;
mod engine;
mod errand;
mod error;
mod handle;
mod hidden;
mod host;
mod image;
pub mod network;
mod paths;
mod plan;
mod prepare;
mod programs;
mod running;
mod session;
pub mod snapshot;
mod spec;
mod suspended;
pub mod template;
#[cfg(test)]
mod testing;
mod timing;
mod vm;

pub use attachment::{Attachment, InputWriter, Output, OutputReader, OutputStream};
pub use container::{
    ContainerConfig, ContainerId, HostProcess, InvalidName, State, Status, Tmpfs, Ulimit,
};
pub use disk::{DiskError, InvalidDisk};
pub use engine::{Changes, Created, Engine, Listed, Origin, WaitFor};
pub use error::Error;
pub use handle::Exit;
pub use host::HostError;
pub use paths::{Paths, PathsError};
pub use programs::{MissingProgram, Programs, find_vmm};
pub use session::SessionError;
pub use spec::{InvalidProcess, InvalidSize, UnknownSignal, parse_cpus, parse_size, signal_number};
pub use timing::Timing;
pub use vm::{MachineError, plain};
