//! Containers as they are on disk: identity, configuration, state, and who holds them.

mod config;
mod directory;
mod id;
mod name;
mod shelf;
mod state;

pub use config::{ContainerConfig, Tmpfs, Ulimit};
pub(crate) use directory::{Directory, Held, Record, read_json, write_json};
pub use id::ContainerId;
pub use name::InvalidName;
pub(crate) use name::{check as check_name, random as random_name};
pub(crate) use shelf::{Removal, Shelf, remove_tree};
pub use state::{HostProcess, State, Status};
