//! Volumes: directories of the host that outlive containers, and that several of them may use at once.
//!
//! `volumes/<name>/` is one: `volume.json` says what it is, `_data` is what containers see. A volume appears and disappears whole, by
//! a rename. Whether one is in use is told by the records of containers, which are written before their volumes are made: a
//! volume that a record names and that is not there is made by the next who looks for it.

mod name;
mod size;
mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use name::check;
pub use size::usage;
pub use store::Volumes;

/// The label that Docker's clients know a volume without a name by.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// What a volume is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver `local`.
    pub options: BTreeMap<String, String>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// What it was made to be.
    pub spec: VolumeSpec,
    /// When.
    pub created: Timestamp,
    /// The directory that containers see.
    pub mountpoint: PathBuf,
}

impl Volume {
    /// Whether nobody gave it a name.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.spec.labels.contains_key(ANONYMOUS)
    }
}

/// Something about volumes that cannot be done.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VolumeError {
    /// No volume has this name.
    #[error("get {0}: no such volume")]
    NotFound(String),
    /// Containers use it.
    #[error("remove {name}: volume is in use - [{}]", .by.join(", "))]
    InUse {
        /// Its name.
        name: String,
        /// The identifiers of the containers.
        by: Vec<String>,
    },
    /// One character names nothing.
    #[error(
        "create {0}: volume name is too short, names should be at least two alphanumeric characters"
    )]
    ShortName(String),
    /// No directory could be called so.
    #[error("create {0}: volume name is too long, 255 characters are the most")]
    LongName(String),
    /// A name that would be a path, or none.
    #[error(
        "create {0}: {0:?} includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    Name(String),
    /// An option that the driver does not have.
    #[error(
        "create {name}: invalid option: {option:?}: of the driver local's options type=none, o=bind and device=PATH are known, and only together"
    )]
    Option {
        /// The volume's name.
        name: String,
        /// The option.
        option: String,
    },
    /// A volume there was with other options.
    #[error("create {0}: a volume of this name with other options is there already")]
    OtherOptions(String),
}
