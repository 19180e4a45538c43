//! Where the engine keeps durable state and runtime files.

use std::env;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// No directory can be chosen for state.
#[derive(Debug, Error)]
#[error("there is no place for Hull's files: set HULL_ROOT, XDG_DATA_HOME or HOME")]
pub struct PathsError;

/// The name of the daemon's socket.
const SOCKET: &str = "hull.sock";

/// The two directories everything lives below.
///
/// Nothing is created by choosing them; [`crate::Engine::open`] does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
    run: PathBuf,
    socket: PathBuf,
}

impl Paths {
    /// How many bytes the path of a socket may have (`sun_path` of unix(7), without the zero at its end).
    pub(crate) const SOCKET_LIMIT: usize = 107;

    /// Uses these directories and no others.
    pub fn new(root: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        let run = run.into();
        Self {
            root: root.into(),
            socket: run.join(SOCKET),
            run,
        }
    }

    /// `HULL_ROOT` and `HULL_RUN`, else `/var/lib/hull` and `/run/hull` for root, else the user's
    /// `$XDG_DATA_HOME/hull` and `$XDG_RUNTIME_DIR/hull`.
    pub fn from_env() -> Result<Self, PathsError> {
        Self::choose(
            |name| env::var_os(name).map(PathBuf::from),
            rustix::process::geteuid().as_raw(),
        )
    }

    fn choose(var: impl Fn(&str) -> Option<PathBuf>, uid: u32) -> Result<Self, PathsError> {
        let absolute = |name: &str| var(name).filter(|path| path.is_absolute());
        let root = match var("HULL_ROOT").filter(|path| !path.as_os_str().is_empty()) {
            Some(root) => root,
            None if uid == 0 => PathBuf::from("/var/lib/hull"),
            None => absolute("XDG_DATA_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
                .ok_or(PathsError)?
                .join("hull"),
        };
        let run = match var("HULL_RUN").filter(|path| !path.as_os_str().is_empty()) {
            Some(run) => run,
            None if uid == 0 => PathBuf::from("/run/hull"),
            None => match absolute("XDG_RUNTIME_DIR") {
                Some(dir) => {
                    return Ok(Self {
                        root,
                        socket: dir.join(SOCKET),
                        run: dir.join("hull"),
                    });
                }
                None => env::temp_dir().join(format!("hull-{uid}")),
            },
        };
        Ok(Self::new(root, run))
    }

    /// Durable state: images, containers, templates.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Sockets and other files that mean nothing after a restart of the host.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Where a daemon logs to that was started in the background.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// How many bytes the longest path of a container's socket has, below a short id.
    pub(crate) fn longest_socket(&self) -> usize {
        let run = self.run.as_os_str().len();
        run + "/0123456789ab/".len() + crate::control::SOCKET.len()
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Plain microVMs, each in a directory of its name.
    pub(crate) fn vms(&self) -> PathBuf {
        self.root.join("vms")
    }

    /// Plain microVMs in files.
    pub(crate) fn vm_snapshots(&self) -> PathBuf {
        self.root.join("vm-snapshots")
    }

    /// Networks, with their endpoints.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Volumes, each in a directory of its name.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Empty writable layers.
    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Containers in files.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The locks of machines that start.
    pub(crate) fn turns(&self) -> PathBuf {
        self.run.join("turns")
    }

    /// Machines at rest, which others are clones of.
    pub(crate) fn templates(&self) -> PathBuf {
        self.root.join("templates")
    }
}

#[cfg(test)]
mod tests;
