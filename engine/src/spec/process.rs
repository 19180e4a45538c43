//! The process of a container: what the image says, overridden by what the user asks.
//!
//! The rules are Docker's, each where a user could tell the difference. Pure: no I/O.

use hull_agent_protocol::{
    Capabilities, CapabilitySet, Rlimit, UnknownCapability, UnknownResource,
};
use thiserror::Error;

use super::hostname::{self, InvalidHostname};
use super::signal::{UnknownSignal, signal_number};
use crate::container::{ContainerConfig, ContainerId, Ulimit, clean_path};

/// Docker's PATH for images that have none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image says about the processes that run from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageDefaults {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) user: String,
    pub(crate) stop_signal: String,
    pub(crate) volumes: Vec<String>,
}

/// Image and user put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) hostname: String,
    pub(crate) volumes: Vec<String>,
    pub(crate) stop_signal: u8,
    pub(crate) capabilities: Capabilities,
    pub(crate) rlimits: Vec<Rlimit>,
}

/// Options that make no process.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidProcess {
    /// Neither image nor user names a program.
    #[error(
        "no command specified: the image {0} has no ENTRYPOINT and no CMD, name a command behind it"
    )]
    NoCommand(String),
    /// A working directory that depends on where one is.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    WorkingDirectory(String),
    /// A tmpfs whose place depends on where one is.
    #[error("--tmpfs {0} is invalid: mount path must be absolute")]
    Tmpfs(String),
    /// A mount whose place is none.
    #[error("invalid mount path: '{0}' mount path must be absolute, and not the container's root")]
    Mount(String),
    /// A capability that does not exist.
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    /// A limit that does not exist.
    #[error(transparent)]
    Limit(#[from] UnknownResource),
    /// A host name that cannot be one.
    #[error(transparent)]
    Hostname(#[from] InvalidHostname),
    /// A signal that does not exist.
    #[error(transparent)]
    StopSignal(#[from] UnknownSignal),
    /// A text that no program can be given.
    #[error("{0:?} holds a zero byte, which no argument or variable can")]
    ZeroByte(String),
}

/// Checks what can be wrong with a configuration whatever the image says, so that it is refused
/// before anything is pulled or made.
pub(crate) fn check(config: &ContainerConfig) -> Result<(), InvalidProcess> {
    if let Some(dir) = config
        .working_dir
        .as_ref()
        .filter(|dir| !dir.starts_with('/'))
    {
        return Err(InvalidProcess::WorkingDirectory(dir.clone()));
    }
    if let Some(tmpfs) = config.tmpfs.iter().find(|tmpfs| !tmpfs.path.is_absolute()) {
        return Err(InvalidProcess::Tmpfs(tmpfs.path.display().to_string()));
    }
    if let Some(name) = &config.hostname {
        hostname::check(name)?;
    }
    if let Some(signal) = &config.stop_signal {
        signal_number(signal)?;
    }
    let texts = config
        .command
        .iter()
        .chain(&config.env)
        .chain(config.entrypoint.iter().flatten());
    if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
        return Err(InvalidProcess::ZeroByte(text.clone()));
    }
    CapabilitySet::docker(&config.cap_add, &config.cap_drop)?;
    rlimits(&config.ulimits)?;
    Ok(())
}

/// Puts image and user together.
pub(crate) fn merge(
    id: &ContainerId,
    image: &ImageDefaults,
    config: &ContainerConfig,
) -> Result<Merged, InvalidProcess> {
    let hostname = config
        .hostname
        .clone()
        .unwrap_or_else(|| id.short().to_owned());
    let cwd = config
        .working_dir
        .clone()
        .unwrap_or_else(|| image.working_dir.clone());
    // Old builders wrote relative WORKDIRs; they are relative to the root.
    let cwd = if cwd.starts_with('/') {
        cwd
    } else {
        format!("/{cwd}")
    };
    let stop_signal = match &config.stop_signal {
        Some(text) => signal_number(text)?,
        None => signal_number(&image.stop_signal).unwrap_or(15),
    };
    let capabilities = if config.privileged {
        CapabilitySet::ALL
    } else {
        CapabilitySet::docker(&config.cap_add, &config.cap_drop)?
    };
    Ok(Merged {
        argv: argv(image, config).ok_or_else(|| InvalidProcess::NoCommand(config.image.clone()))?,
        env: environment(&hostname, image, config),
        cwd,
        user: config.user.clone().unwrap_or_else(|| image.user.clone()),
        hostname,
        volumes: volumes(image, config),
        stop_signal,
        capabilities: Capabilities::of_container(capabilities),
        rlimits: rlimits(&config.ulimits)?,
    })
}

/// The image's volumes where nothing else is mounted.
fn volumes(image: &ImageDefaults, config: &ContainerConfig) -> Vec<String> {
    let taken = |volume: &String| {
        let place = clean_path(volume);
        let mut mounts = config.mounts.iter().map(|mount| clean_path(&mount.target));
        mounts.any(|target| target == place)
    };
    let volumes = image.volumes.iter().filter(|volume| !taken(volume));
    volumes.cloned().collect()
}

/// An entrypoint of the user's takes the image's CMD away, too.
fn argv(image: &ImageDefaults, config: &ContainerConfig) -> Option<Vec<String>> {
    let mut argv = match &config.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => image.entrypoint.clone(),
    };
    if !config.command.is_empty() {
        argv.extend(config.command.iter().cloned());
    } else if config.entrypoint.is_none() {
        argv.extend(image.command.iter().cloned());
    }
    argv.first()
        .is_some_and(|program| !program.is_empty())
        .then_some(argv)
}

fn environment(hostname: &str, image: &ImageDefaults, config: &ContainerConfig) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in image.env.iter().chain(&config.env) {
        let (name, value) = entry
            .split_once('=')
            .map_or((entry.as_str(), None), |(n, v)| (n, Some(v)));
        let named = |known: &String| {
            known
                .split_once('=')
                .is_some_and(|(known, _)| known == name)
        };
        match (value, env.iter_mut().find(|known| named(known))) {
            (Some(_), Some(known)) => known.clone_from(entry),
            (Some(_), None) => env.push(entry.clone()),
            (None, _) => env.retain(|known| !named(known)),
        }
    }
    env
}

fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<Rlimit>, UnknownResource> {
    // -1 is "unlimited"; the parser lets nothing else below zero through.
    let limit = |value: i64| u64::try_from(value).unwrap_or(Rlimit::UNLIMITED);
    let rlimit = |ulimit: &Ulimit| {
        let resource = ulimit.name.parse()?;
        Ok(Rlimit {
            resource,
            soft: limit(ulimit.soft),
            hard: limit(ulimit.hard),
        })
    };
    ulimits.iter().map(rlimit).collect()
}

#[cfg(test)]
mod tests;
