//! Where this invocation keeps its things.

use std::path::PathBuf;

use hull_engine::Paths;

/// What every subcommand gets beside its own arguments.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    paths: Paths,
}

impl Context {
    /// Reads `HULL_ROOT` and `HULL_RUN`, else takes the user's or the system's directories.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        Ok(Self {
            paths: Paths::from_env()?,
        })
    }

    /// The directory of the image store, below the root.
    pub(crate) fn images(&self) -> PathBuf {
        self.paths.images()
    }

    /// All paths, as the engine takes them.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }
}
