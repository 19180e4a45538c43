//! Why an image is not built.

use hull_image::build::{self, CopyError, IgnoreError};
use hull_image::reference::ParseReferenceError;
use hull_image::{CreateError, PullError, registry, store};
use thiserror::Error;

use crate::SessionError;

/// A build failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Dockerfile is not in the context.
    #[error("Cannot locate specified Dockerfile: {0}")]
    NoDockerfile(String),
    /// There is nothing in it.
    #[error("the Dockerfile ({0}) cannot be empty")]
    Empty(String),
    /// It makes no sense.
    #[error(transparent)]
    Dockerfile(#[from] build::Error),
    /// The `.dockerignore` makes no sense.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// A base is no name of an image.
    #[error("invalid reference format")]
    Reference(#[from] ParseReferenceError),
    /// A stage makes nothing.
    #[error("No image was generated. Is your Dockerfile empty?")]
    Nothing,
    /// Files are not copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A file of an address is not fetched.
    #[error("ADD failed: {0}")]
    Add(String),
    /// An address does not lead to a file.
    #[error("ADD failed")]
    Remote(#[from] registry::Error),
    /// An image is not to be had.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// An image cannot be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An image's configuration is no JSON.
    #[error("the configuration of an image below cannot be read")]
    Config(#[from] serde_json::Error),
    /// A step's container fails.
    #[error(transparent)]
    Engine(#[from] crate::Error),
    /// A program fails.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// Its exit code.
        code: u8,
    },
    /// What a `RUN` needs that is not here.
    #[error("{0}")]
    Unsupported(String),
    /// A thread of ours ended early.
    #[error("the build ended unexpectedly")]
    Thread(#[source] std::io::Error),
}

impl From<SessionError> for BuildError {
    fn from(error: SessionError) -> Self {
        Self::Engine(error.into())
    }
}

impl BuildError {
    /// What a client exits with.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Command { code, .. } => *code,
            Self::Engine(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// Does what takes time where that is allowed.
pub(super) async fn blocking<T: Send + 'static, E: Into<BuildError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(BuildError::Thread(std::io::Error::other(error))),
    }
}
