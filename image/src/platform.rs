//! Platforms, as `--platform` and manifest lists name them: `linux/amd64`, `linux/arm/v7`.

use std::fmt;
use std::str::FromStr;

/// An operating system and a processor, in Go's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v8`, `v7`, ... where the architecture has variants.
    pub variant: Option<String>,
}

/// Text that names no platform.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a platform; it looks like linux/amd64 or linux/arm/v7")]
pub struct ParsePlatformError(String);

impl Default for Platform {
    /// What microVMs run.
    fn default() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
        }
    }
}

impl Platform {
    /// How well `offered` serves this wish: `None` if it does not, else smaller is better. Every
    /// amd64 variant is taken as a last resort only, since `v3` may need what the host lacks.
    #[must_use]
    pub fn rank(&self, offered: &Self) -> Option<u8> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        // arm64 has had only one variant in practice, and lists mention it or not.
        let known = |p: &Self| match (&p.variant, p.architecture.as_str()) {
            (Some(v), "arm64") if v == "v8" => None,
            (Some(v), "amd64") if v == "v1" => None,
            (v, _) => v.clone(),
        };
        match (known(self), known(offered)) {
            (wanted, found) if wanted == found => Some(0),
            (Some(_), None) => Some(1),
            (None, _) => Some(2),
            (Some(_), Some(_)) => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let word = |word: &&str| {
            !word.is_empty()
                && word.len() <= 32
                && word
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.')
        };
        let parts: Vec<&str> = text.split('/').collect();
        let wrong = || ParsePlatformError(text.chars().take(64).collect());
        if !parts.iter().all(word) {
            return Err(wrong());
        }
        let alias = |architecture: &str| match architecture {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        match parts.as_slice() {
            [os, architecture] => Ok(Self {
                os: (*os).to_owned(),
                architecture: alias(architecture),
                variant: None,
            }),
            [os, architecture, variant] => Ok(Self {
                os: (*os).to_owned(),
                architecture: alias(architecture),
                variant: Some((*variant).to_owned()),
            }),
            _ => Err(wrong()),
        }
    }
}
