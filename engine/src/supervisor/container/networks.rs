//! The networks of a container of the daemon's: those that it is in, comes into and leaves.

use std::sync::{Arc, PoisonError};

use super::Container;
use crate::container::{NetworkAttachment, Status};
use crate::errand::What;
use crate::network::Network;
use crate::wired::{self, Connected};
use crate::{Error, control};

impl Container {
    /// The networks that it is in while it runs.
    #[must_use]
    pub fn networks(&self) -> Vec<Connected> {
        match self.is_up() {
            true => wired::connected(&self.path()),
            false => Vec::new(),
        }
    }

    fn is_up(&self) -> bool {
        self.life.borrow().is_running()
    }

    /// Takes it into a network, at once if it runs.
    ///
    /// # Errors
    /// It is there already, is to have no network, or has no interface for it.
    pub async fn connect(
        self: &Arc<Self>,
        network: &Network,
        attachment: NetworkAttachment,
    ) -> Result<(), Error> {
        let _turn = self.take_turn().await;
        if self.life.borrow().removed {
            return Err(Error::NotFound(self.id.to_string()));
        }
        let mut networks = self.config().networks;
        if networks.is_empty() && self.config().interfaces == 0 {
            return Err(Error::NoNetwork);
        }
        if networks.iter().any(|one| is(one, network)) {
            return Err(Error::Connected {
                container: self.name(),
                network: network.name().to_owned(),
            });
        }
        networks.push(attachment);
        self.set_networks(networks, network).await?;
        if self.is_up() {
            self.tell_connection(network, "connect");
        }
        Ok(())
    }

    /// Takes it out of a network, at once if it runs.
    ///
    /// # Errors
    /// It is not in it.
    pub async fn disconnect(self: &Arc<Self>, network: &Network) -> Result<(), Error> {
        let _turn = self.take_turn().await;
        if self.life.borrow().removed {
            return Err(Error::NotFound(self.id.to_string()));
        }
        let mut networks = self.config().networks;
        let count = networks.len();
        networks.retain(|one| !is(one, network));
        if networks.len() == count {
            return Err(Error::NotConnected {
                container: self.id().to_string(),
                network: network.name().to_owned(),
            });
        }
        self.set_networks(networks, network).await?;
        if self.is_up() {
            self.tell_connection(network, "disconnect");
        }
        Ok(())
    }

    fn tell_connection(&self, network: &Network, action: &str) {
        if let Some(supervisor) = self.supervisor.upgrade() {
            let more = [("container", self.id().to_string())];
            supervisor.publish_network(network, action, more);
        }
    }

    /// Gives it other networks. If they cannot be had while it runs, it keeps those that it has. The turn is the caller's.
    async fn set_networks(
        &self,
        networks: Vec<NetworkAttachment>,
        about: &Network,
    ) -> Result<(), Error> {
        let before = self.config();
        let is_up = self.is_up();
        let interfaces = match self.state().status {
            // Its machine is there, or in files.
            _ if is_up => before.interfaces,
            Status::Suspended => before.interfaces,
            _ => before
                .interfaces
                .max(wired::interfaces(networks.len(), before.mounts.len())),
        };
        if networks.len() > interfaces {
            return Err(Error::NoSpare(about.name().to_owned()));
        }
        self.note_networks(networks, interfaces).await?;
        if !is_up {
            return Ok(());
        }
        if let Err(error) = self.rewire().await {
            self.note_networks(before.networks, before.interfaces)
                .await?;
            if let Err(error) = self.rewire().await {
                tracing::warn!(container = %self.id, %error, "a container's networks are not what they were");
            }
            return Err(error);
        }
        Ok(())
    }

    pub(super) async fn rewire(&self) -> Result<(), Error> {
        let ask = control::Ask::Errand(What::Rewire);
        let asked = control::ask(&self.runtime(), ask).await;
        asked.map(drop).map_err(|error| Error::Refused {
            container: self.id.short().to_owned(),
            what: "connected otherwise",
            why: error.to_string(),
        })
    }

    async fn note_networks(
        &self,
        networks: Vec<NetworkAttachment>,
        interfaces: usize,
    ) -> Result<(), Error> {
        let (shelf, id) = (self.shelf.clone(), self.id.clone());
        let change = move || {
            shelf.change(&id, |record| {
                record.config.networks = networks;
                record.config.interfaces = interfaces;
            })
        };
        let changed = tokio::task::spawn_blocking(change).await;
        let changed = changed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let config = changed.map_err(Error::io("write", self.path()))?.config;
        self.note(|known| {
            known.config.networks = config.networks;
            known.config.interfaces = config.interfaces;
        });
        Ok(())
    }

    /// Whoever was daemon before has told of its networks.
    pub(super) fn note_told(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = self.networks();
    }

    /// Tells that it has come to the networks that it is in, or has left those that it was in.
    pub(super) fn tell_networks(&self, came: bool) {
        let now = if came {
            wired::connected(&self.path())
        } else {
            Vec::new()
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *told, now.clone());
        drop(told);
        let (all, action) = match came {
            true => (now, "connect"),
            false => (before, "disconnect"),
        };
        if let Some(supervisor) = self.supervisor.upgrade() {
            for one in all {
                let more = [("container", self.id.to_string())];
                supervisor.publish_of_network(one.network_id.as_str(), &one.network, action, more);
            }
        }
    }
}

fn is(attachment: &NetworkAttachment, network: &Network) -> bool {
    attachment.network == network.name() || attachment.network == network.id().as_str()
}
