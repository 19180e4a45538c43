//! What commands need to know of a container before they do something with it.

use anyhow::bail;
use serde::Deserialize;

use crate::client::{Daemon, escaped};

/// A part of what `inspect` shows.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) config: Config,
    pub(crate) host_config: HostConfig,
}

/// Whether it runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct State {
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) restarting: bool,
    pub(crate) suspended: bool,
}

/// How its program was made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Config {
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
}

/// What happens at its end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct HostConfig {
    pub(crate) auto_remove: bool,
}

impl Seen {
    /// Asks for a container by its name, its id or the beginning of one.
    pub(crate) async fn of(daemon: &Daemon, name: &str) -> anyhow::Result<Self> {
        let path = format!("/containers/{}/json", escaped(name));
        daemon.get(&path).await
    }

    /// Refuses one that cannot be resumed.
    pub(crate) fn check_suspended(&self) -> anyhow::Result<()> {
        if !self.state.suspended {
            bail!("Container {} is not suspended", self.id);
        }
        Ok(())
    }

    /// Refuses one that nobody can attach to.
    pub(super) fn check_attachable(&self) -> anyhow::Result<()> {
        let State {
            running,
            paused,
            restarting,
            suspended: _,
        } = self.state;
        if !running {
            bail!("You cannot attach to a stopped container, start it first");
        }
        if paused {
            bail!("You cannot attach to a paused container, unpause it first");
        }
        if restarting {
            bail!("You cannot attach to a restarting container, wait until it is running");
        }
        Ok(())
    }
}
