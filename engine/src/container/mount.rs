//! Directories and files of the host that a container sees.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::volume::VolumeSpec;

/// What is mounted at a path of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where; absolute.
    pub target: String,
    /// The container cannot write to it.
    pub read_only: bool,
    /// What.
    pub source: MountSource,
    /// How it was asked for, to be shown again: `z`, `ro`.
    #[serde(default)]
    pub mode: String,
    /// The same for what becomes of mounts that are made later: `rprivate`.
    #[serde(default)]
    pub propagation: String,
}

/// Something of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A directory, a file or a socket; who connects to a socket needs no right to write to its mount.
    Bind {
        /// Which; absolute.
        path: PathBuf,
        /// It is made, as a directory, if it is missing.
        create: bool,
    },
    /// A volume, which is made if it is missing.
    Volume {
        /// Its name. Nothing is one of the engine's choice, for a volume that goes with the container.
        name: String,
        /// It is not filled with what the image has there.
        #[serde(default)]
        no_copy: bool,
        /// A directory of it, instead of all.
        #[serde(default)]
        subpath: Option<String>,
        /// What it is made to be if it is missing.
        #[serde(default)]
        spec: VolumeSpec,
    },
}

impl Mount {
    /// The name of its volume.
    #[must_use]
    pub fn volume(&self) -> Option<&str> {
        match &self.source {
            MountSource::Volume { name, .. } => Some(name),
            MountSource::Bind { .. } => None,
        }
    }
}

/// A path as one compares it: without what changes nothing.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_form() {
        for (path, form) in [
            ("/", "/"),
            ("/a//b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../x", "/x"),
        ] {
            assert_eq!(clean(path), form);
        }
    }
}
