//! Which registries may be spoken to without TLS, and how patient to be.
//!
//! Read from `$HULL_CONFIG`, or else from `/etc/hull/config.json` and then the user's
//! `~/.config/hull/config.json`, which adds to it. The names are those of Docker's `daemon.json`. The environment
//! variable `HULL_INSECURE_REGISTRIES` adds hosts, separated by commas.

use std::env;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::credentials::Credentials;
use super::retry::Retry;

const SYSTEM: &str = "/etc/hull/config.json";
const DEFAULT_STALL: Duration = Duration::from_secs(30);
const DEFAULT_DOWNLOADS: usize = 3;
const DEFAULT_UPLOADS: usize = 5;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct Config {
    /// Hosts, with their port if they have one, that may be reached without TLS. Loopback always may.
    pub insecure: Vec<String>,
    /// Longest time without a byte from a registry.
    pub stall: Duration,
    /// How failures are retried.
    pub retry: Retry,
    /// How many layers are downloaded at once, at least 1.
    pub downloads: usize,
    /// How many layers are uploaded at once, at least 1.
    pub uploads: usize,
    /// Who to be to whatever registry is asked; else the configuration file says it.
    pub explicit: Option<Credentials>,
    /// Docker's configuration file with credentials; `None` for anonymous access only.
    pub credentials: Option<PathBuf>,
}

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what this version of hull knows.
    #[error("the configuration file {path} is wrong")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    insecure_registries: Vec<String>,
    max_concurrent_downloads: Option<usize>,
    max_concurrent_uploads: Option<usize>,
    registry_stall_seconds: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            stall: DEFAULT_STALL,
            retry: Retry::default(),
            downloads: DEFAULT_DOWNLOADS,
            uploads: DEFAULT_UPLOADS,
            explicit: None,
            credentials: None,
        }
    }
}

impl Config {
    /// What the configuration files and the environment say.
    ///
    /// # Errors
    /// When a file that is there cannot be read, or the one that `HULL_CONFIG` names is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some(path) = env::var_os("HULL_CONFIG") {
            config.add(&PathBuf::from(path), true)?;
        } else {
            config.add(Path::new(SYSTEM), false)?;
            let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".config"));
            let user = env::var_os("XDG_CONFIG_HOME")
                .map(PathBuf::from)
                .or_else(home);
            if let Some(user) = user {
                config.add(&user.join("hull/config.json"), false)?;
            }
        }
        if let Ok(list) = env::var("HULL_INSECURE_REGISTRIES") {
            let hosts = list
                .split(',')
                .map(str::trim)
                .filter(|host| !host.is_empty());
            config.insecure.extend(hosts.map(str::to_owned));
        }
        config.credentials = super::credentials::docker_config();
        Ok(config)
    }

    pub(super) fn add(&mut self, path: &Path, required: bool) -> Result<(), ConfigError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !required => return Ok(()),
            Err(source) => {
                return Err(ConfigError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let file: File = serde_json::from_slice(&bytes).map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source,
        })?;
        self.insecure.extend(file.insecure_registries);
        if let Some(downloads) = file.max_concurrent_downloads {
            self.downloads = downloads.max(1);
        }
        if let Some(uploads) = file.max_concurrent_uploads {
            self.uploads = uploads.max(1);
        }
        if let Some(seconds) = file.registry_stall_seconds {
            self.stall = Duration::from_secs(seconds.max(1));
        }
        Ok(())
    }

    /// Whether `registry` may be spoken to without TLS.
    pub(crate) fn may_be_plain(&self, registry: &str) -> bool {
        is_loopback(registry) || self.insecure.iter().any(|listed| listed == registry)
    }
}

/// Whether a registry is on this machine. Only `localhost` and literal addresses count: any other
/// name is whatever DNS says.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
