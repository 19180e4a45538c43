//! Files of the host: by path, or by the name of a descriptor that the VMM was handed at its start.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// A path on the host, or `fd:NAME` for the descriptor that `--fd NAME=NUMBER` handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostPath(String);

impl HostPath {
    /// The descriptor called `name`.
    #[must_use]
    pub fn fd(name: &str) -> Self {
        Self(format!("fd:{name}"))
    }

    /// The name of the descriptor, if this is one.
    #[must_use]
    pub fn as_fd(&self) -> Option<&str> {
        self.0.strip_prefix("fd:")
    }

    /// Where queue number `queue` of a device is: of `fd:NAME` all but the first have descriptors of their own, `fd:NAME.1`,
    /// `fd:NAME.2` and so on; a name stands for all of them.
    #[must_use]
    pub fn of_queue(&self, queue: u8) -> Self {
        match self.as_fd() {
            Some(name) if queue > 0 => Self::fd(&format!("{name}.{queue}")),
            _ => self.clone(),
        }
    }

    /// As a path, which it is unless [`HostPath::as_fd`] says otherwise.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn check(&self, field: &'static str) -> Result<(), ConfigError> {
        if self.0.is_empty() || self.as_fd() == Some("") || self.0.contains('\0') {
            return Err(ConfigError::Value {
                field,
                value: self.0.clone(),
                must: "a path, or fd: and the name of a descriptor that was handed over",
            });
        }
        Ok(())
    }
}

/// Checks a path if there is one.
pub(crate) fn check_some(field: &'static str, path: Option<&HostPath>) -> Result<(), ConfigError> {
    path.map_or(Ok(()), |path| path.check(field))
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for HostPath {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl From<String> for HostPath {
    fn from(path: String) -> Self {
        Self(path)
    }
}

/// A path that is not UTF-8, which JSON cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not UTF-8, so no configuration can name it")]
pub struct NotUtf8(PathBuf);

impl TryFrom<&Path> for HostPath {
    type Error = NotUtf8;

    fn try_from(path: &Path) -> Result<Self, NotUtf8> {
        let text = path.to_str().ok_or_else(|| NotUtf8(path.to_owned()))?;
        Ok(Self(text.to_owned()))
    }
}
