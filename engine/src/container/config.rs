//! What a user asks of a container, before the image has its say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Mount;
use crate::network::{Link, MacAddress, Publication};

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
    /// Replaces the image's ENTRYPOINT; an empty list means no entrypoint at all.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=VALUE` sets, `NAME` alone removes what the image has set.
    pub env: Vec<String>,
    /// Replaces the image's WORKDIR; absolute.
    pub working_dir: Option<String>,
    /// Replaces the image's USER: `name|uid[:group|gid]`.
    pub user: Option<String>,
    /// The host name; the short id where there is none.
    pub hostname: Option<String>,
    /// Its domain name, for `hosts` and the kernel; none where it is empty.
    pub domainname: String,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Whether its standard input is kept open for a client; else it is empty.
    pub open_stdin: bool,
    /// Whether its standard input ends when the first client that typed into it is gone.
    pub stdin_once: bool,
    /// Whether the container is removed at its end.
    pub auto_remove: bool,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Whether a small init reaps orphans and passes signals on.
    pub init: bool,
    /// Empty file systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Directories and files of the host. No two have the same target.
    pub mounts: Vec<Mount>,
    /// How many bytes `/dev/shm` has; 64 MiB where nothing is said.
    pub shm_size: Option<u64>,
    /// Settings of the guest's kernel, by name.
    pub sysctls: BTreeMap<String, String>,
    /// How many processes and threads there may be at a time.
    pub pids: Option<u64>,
    /// How its well-being is found out.
    pub health: Option<HealthCheck>,
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
    /// Its share of the host's processors where others want them, too; 1024 where nothing is said.
    pub cpu_shares: Option<u32>,
    /// How many bytes the writable disk has; 10 GiB where nothing is said. It takes what is written, not more.
    pub disk: Option<u64>,
    /// Groups of the process beside its own: names or numbers.
    pub group_add: Vec<String>,
    /// From -1000 to 1000: whether the process is killed later or sooner when memory is short.
    pub oom_score_adj: i16,
    /// What happens after the container's end.
    pub restart: RestartPolicy,
    /// How long a stop waits before it uses force, in whole seconds; 10 seconds where nothing is said.
    pub stop_timeout: Option<Duration>,
    /// Where output is kept.
    pub log: LogConfig,
    /// The networks that it is in, in the order of its interfaces.
    pub networks: Vec<NetworkAttachment>,
    /// Ports of the host that are the container's, in the first of its networks that leads anywhere.
    pub ports: Vec<Publication>,
    /// Its name servers; those of its network otherwise, or the host's.
    pub dns: Vec<IpAddr>,
    /// Domains in which names without a dot are looked for.
    pub dns_search: Vec<String>,
    /// Options of resolv.conf(5).
    pub dns_options: Vec<String>,
    /// More names for its `hosts`.
    pub extra_hosts: Vec<ExtraHost>,
    /// How many network interfaces its machine has, with spare ones for networks that it is connected to while it runs.
    pub interfaces: usize,
}

/// A name that a container knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Where it leads; to the host, as the container sees it, without one.
    pub address: Option<IpAddr>,
}

/// A network that a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAttachment {
    /// The network's name or identifier.
    pub network: String,
    /// Addresses that it must have there, at most one of a family; others are chosen.
    pub addresses: Vec<IpAddr>,
    /// Its MAC address; a random one without it.
    pub mac: Option<MacAddress>,
    /// Other names for it in this network.
    pub aliases: Vec<String>,
    /// Its own names for others in this network.
    pub links: Vec<Link>,
    /// Of several networks the one with the highest priority has the way out.
    pub priority: i64,
}

/// How one finds out whether a container does what it is there for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The program that is run in it, with its arguments: 0 is well, anything else is not.
    pub test: Vec<String>,
    /// From the end of one check to the next.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// For so long after the start nothing is made of checks that fail.
    pub start_period: Duration,
    /// In place of `interval` for as long as that.
    pub start_interval: Duration,
    /// So many checks must fail in a row.
    pub retries: u32,
}

/// What happens after a container's end, if it was not stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It stays ended.
    #[default]
    No,
    /// It is started again, and at the start of the daemon, too.
    Always,
    /// The same, but a container that was stopped stays so when the daemon starts.
    UnlessStopped,
    /// It is started again when its exit code is not 0.
    OnFailure {
        /// So many times at most.
        maximum: Option<u32>,
    },
}

/// How a container's output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// In what form.
    pub driver: LogDriver,
    /// A file is closed and another one begun when it has so many bytes; it grows without bound otherwise.
    pub max_size: Option<u64>,
    /// How many files there are at most, at least 1. Of more the oldest goes.
    pub max_files: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            driver: LogDriver::default(),
            max_size: None,
            max_files: 1,
        }
    }
}

/// The form of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Lines of JSON, as Docker's driver of this name writes them.
    #[default]
    JsonFile,
    /// Nothing is kept.
    None,
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
