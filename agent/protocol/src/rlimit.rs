//! Resource limits, numbered as Linux numbers them (`setrlimit(2)`).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A limit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Of what.
    pub resource: Resource,
    /// What counts now; [`Rlimit::UNLIMITED`] for none.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

impl Rlimit {
    /// No limit.
    pub const UNLIMITED: u64 = u64::MAX;
}

/// A name that is no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no limit named {0:?}; known are {names}", names = names())]
pub struct UnknownResource(String);

fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

macro_rules! resources {
    ($($variant:ident = $number:literal $name:literal,)*) => {
        /// What can be limited; the numbers are Linux's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Resource { $($variant = $number,)* }

        const NAMES: [(&str, Resource); 16] = [$(($name, Resource::$variant),)*];
    };
}

resources! {
    Cpu = 0 "cpu",
    FileSize = 1 "fsize",
    Data = 2 "data",
    Stack = 3 "stack",
    Core = 4 "core",
    Rss = 5 "rss",
    Processes = 6 "nproc",
    OpenFiles = 7 "nofile",
    LockedMemory = 8 "memlock",
    AddressSpace = 9 "as",
    Locks = 10 "locks",
    PendingSignals = 11 "sigpending",
    MessageQueues = 12 "msgqueue",
    Nice = 13 "nice",
    RealtimePriority = 14 "rtprio",
    RealtimeTime = 15 "rttime",
}

impl FromStr for Resource {
    type Err = UnknownResource;

    /// Reads a name as `docker run --ulimit` takes it: `nofile`, `nproc`...
    fn from_str(name: &str) -> Result<Self, UnknownResource> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, resource)| *resource)
            .ok_or_else(|| UnknownResource(name.to_owned()))
    }
}
