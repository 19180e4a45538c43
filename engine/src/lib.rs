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
mod health;
mod hidden;
mod host;
mod image;
mod log;
mod names;
pub mod network;
pub mod owner;
mod paths;
mod plan;
mod prepare;
mod programs;
mod relay;
mod running;
mod session;
mod share;
pub mod snapshot;
mod spec;
pub mod supervisor;
mod suspended;
pub mod template;
#[cfg(test)]
mod testing;
mod timing;
mod turns;
mod vm;
pub mod volume;
mod wired;

pub use attachment::{Attachment, InputWriter, Output, OutputReader, OutputStream};
pub use container::{
    ContainerConfig, ContainerId, ExtraHost, HealthCheck, HostProcess, InvalidName, LogConfig,
    LogDriver, Mount, MountSource, NetworkAttachment, RestartPolicy, State, Status, Tmpfs, Ulimit,
    clean_path,
};
pub use disk::{DiskError, InvalidDisk};
pub use engine::{Changes, Created, Engine, Listed, Origin, WaitFor};
pub use error::{Error, ErrorKind};
pub use handle::Exit;
pub use health::{Checked, Health, HealthStatus};
pub use host::HostError;
pub use log::{LogEntry, Logs, LogsWanted};
pub use paths::{Paths, PathsError};
pub use programs::{MissingProgram, Programs, find_vmm};
pub use session::{SessionError, inquiry};
pub use spec::{InvalidProcess, InvalidSize, UnknownSignal, parse_cpus, parse_size, signal_number};
pub use timing::{StartedFrom, Timing};
pub use vm::{MachineError, VmStats, VmTraffic, plain};
pub use wired::Connected;
