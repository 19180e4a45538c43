//! What a user asks of a container, before the image has its say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The options of `hull run` that are the container's, not the terminal's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// The image, as it was typed.
    pub image: String,
    /// The name; a random one is chosen where there is none.
    pub name: Option<String>,
    /// Replaces the image's CMD; empty keeps it.
    pub command: Vec<String>,
    /// Replaces the image's ENTRYPOINT; an empty text means no entrypoint at all.
    pub entrypoint: Option<String>,
    /// `NAME=VALUE` sets, `NAME` alone removes what the image has set.
    pub env: Vec<String>,
    /// Replaces the image's WORKDIR; absolute.
    pub working_dir: Option<String>,
    /// Replaces the image's USER: `name|uid[:group|gid]`.
    pub user: Option<String>,
    /// The host name; the short id where there is none.
    pub hostname: Option<String>,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Whether its standard input is kept open for a client; else it is empty.
    pub open_stdin: bool,
    /// Whether the container is removed at its end.
    pub auto_remove: bool,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Whether a small init reaps orphans and passes signals on.
    pub init: bool,
    /// Empty file systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Capabilities beyond the default set, in any of Docker's spellings; `ALL` is every one.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default set; `ALL` is every one.
    pub cap_drop: Vec<String>,
    /// Every capability, and a writable /sys and /proc: the microVM's own, not the host's.
    pub privileged: bool,
    /// Whether the process and its children can never gain privileges.
    pub no_new_privileges: bool,
    /// Limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Replaces the image's STOPSIGNAL: a number or a name.
    pub stop_signal: Option<String>,
    /// The container's limit in bytes.
    pub memory: Option<u64>,
    /// Processor time in billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// How many bytes the writable disk has; 10 GiB where nothing is said. It takes what is written, not more.
    pub disk: Option<u64>,
}

/// A file system in memory, mounted at a path of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where; absolute.
    pub path: PathBuf,
    /// Options as mount(8) takes them; Docker's defaults where empty.
    pub options: String,
}

/// One resource limit, `RLIM_INFINITY` as -1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The name without `RLIMIT_`, in lower case: `nofile`.
    pub name: String,
    /// The limit that holds.
    pub soft: i64,
    /// How far the process may raise it.
    pub hard: i64,
}
