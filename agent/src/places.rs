//! Where the agent keeps what in its own file system, the initramfs.

use std::path::{Path, PathBuf};

/// The directories of the agent. In a guest their base is `/`; tests use another.
#[derive(Debug, Clone)]
pub struct Places {
    base: PathBuf,
}

impl Places {
    /// Directories below `base`, made when they are needed.
    #[must_use]
    pub fn below(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
        }
    }

    /// Where the image is mounted.
    pub(crate) fn image(&self) -> PathBuf {
        self.base.join("image")
    }

    /// Where the writable disk is mounted.
    pub(crate) fn disk(&self) -> PathBuf {
        self.base.join("disk")
    }

    /// What was written over the image, as the overlay keeps it.
    pub(crate) fn upper(&self) -> PathBuf {
        self.disk().join("upper")
    }

    /// The container's root.
    pub(crate) fn container(&self) -> PathBuf {
        self.base.join("container")
    }

    /// The container's `/dev` while it is being made.
    pub(crate) fn devices(&self) -> PathBuf {
        self.base.join("devices")
    }

    /// The container's `/run` while it is being made.
    pub(crate) fn run(&self) -> PathBuf {
        self.base.join("run")
    }

    /// A share while it is being mounted.
    pub(crate) fn share(&self) -> PathBuf {
        self.base.join("share")
    }

    /// The whole tree of control groups.
    pub(crate) fn cgroup(&self) -> PathBuf {
        self.base.join("cgroup")
    }

    /// The agent's own view of all processes.
    pub(crate) fn processes(&self) -> PathBuf {
        self.base.join("proc")
    }

    /// A file that is bind-mounted into the container.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }
}
