//! The VMM's own log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ConfigError, HostPath, path};

/// Where the VMM logs to, what, and how each line looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logger {
    /// A file, which is made if missing and appended to, or a pipe. Without it: standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_path: Option<HostPath>,
    /// The least important level that is written.
    #[serde(default)]
    pub level: Level,
    /// Whether each line says its level.
    #[serde(default)]
    pub show_level: bool,
    /// Whether each line says the source file and line that it comes from.
    #[serde(default)]
    pub show_log_origin: bool,
    /// Only what comes from this module path and below, such as `hull_devices::block`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

impl Logger {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        path::check_some("logger.log_path", self.log_path.as_ref())
    }
}

/// How much is logged. In any case of letters; `Warn` is the same as `Warning`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Level {
    /// Nothing.
    Off,
    /// What went wrong and ended something.
    Error,
    /// What looks wrong.
    Warning,
    /// What a user wants to know afterwards.
    #[default]
    Info,
    /// What somebody who works on Hull wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// No level is called so.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no level; the levels are Off, Error, Warning, Info, Debug and Trace")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" | "warning" => Self::Warning,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return Err(UnknownLevel(name.to_owned())),
        })
    }
}

impl TryFrom<String> for Level {
    type Error = UnknownLevel;

    fn try_from(name: String) -> Result<Self, UnknownLevel> {
        name.parse()
    }
}

impl From<Level> for &'static str {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => "Off",
            Level::Error => "Error",
            Level::Warning => "Warning",
            Level::Info => "Info",
            Level::Debug => "Debug",
            Level::Trace => "Trace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str((*self).into())
    }
}
