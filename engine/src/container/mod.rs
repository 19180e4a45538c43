//! Containers as they are on disk: identity, configuration, state, and who holds them.

mod config;
mod directory;
mod id;
mod mount;
mod name;
mod shelf;
mod state;

pub use config::{
    ContainerConfig, ExtraHost, HealthCheck, LogConfig, LogDriver, NetworkAttachment,
    RestartPolicy, Tmpfs, Ulimit,
};
pub(crate) use directory::{Directory, Held, Record, read_json, write_json};
pub use id::ContainerId;
pub(crate) use id::random as random_id;
pub use mount::{Mount, MountSource, clean as clean_path};
pub use name::InvalidName;
pub(crate) use name::{check as check_name, random as random_name};
pub(crate) use shelf::{Removal, Shelf, remove_file, remove_tree};
pub use state::{HostProcess, State, Status};
