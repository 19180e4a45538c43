//! `Start`: everything about one process.

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::rlimit::Rlimit;

/// A process to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// In a new container, or in the one that runs.
    pub place: Place,
    /// The program and its arguments; at least the program. A name without a slash is looked up in
    /// the `PATH` of `env`, inside the container.
    pub argv: Vec<String>,
    /// `NAME=VALUE`. The agent adds `HOME`, from the container's `passwd`, when it is not there.
    pub env: Vec<String>,
    /// As Docker takes it: empty, `name`, `uid`, `name:group`, `uid:gid`...; resolved in the
    /// container's own `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// More groups (names or ids), as `--group-add` takes them.
    pub groups: Vec<String>,
    /// The working directory, absolute; made if it is missing. Empty means `/`.
    pub cwd: String,
    /// Its streams.
    pub stdio: Stdio,
    /// Limits other than the guest's defaults.
    pub rlimits: Vec<Rlimit>,
    /// What it may do.
    pub capabilities: Capabilities,
    /// It can never gain privileges by `execve`.
    pub no_new_privileges: bool,
    /// From -1000 to 1000; 0 is the kernel's default.
    pub oom_score_adj: i16,
}

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// As the first process of a container: new pid, mount, uts, ipc and cgroup namespaces. When it
    /// ends, everything in the container ends.
    NewContainer {
        /// A small init is process 1, which reaps orphans and passes signals on; the program is
        /// its child.
        init: bool,
    },
    /// Beside the process that runs in the container.
    Beside,
}

/// What a process has as standard input, output and error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Three pipes, or two and `/dev/null` as standard input.
    Pipes {
        /// Whether there is a pipe for standard input.
        stdin: bool,
    },
    /// One terminal for all three, which controls the process's session.
    Terminal(TtySize),
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}
