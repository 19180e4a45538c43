//! Networks as the daemon looks after them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Supervisor;
use super::events::{Event, EventKind};
use crate::network::{Network, NetworkSpec, Networks};
use crate::{Error, Paths};

/// The networks of a root directory, without what dead owners left. That something is left is no reason not to start.
pub(super) fn open(paths: &Paths) -> Result<Networks, Error> {
    let networks = Networks::open(paths.networks())?;
    recover(&networks);
    Ok(networks)
}

/// Removes what owners left that are gone.
pub(super) fn recover(networks: &Networks) {
    match networks.recover() {
        Ok(recovered) if recovered.endpoints.is_empty() => {}
        Ok(recovered) => {
            tracing::info!(
                endpoints = recovered.endpoints.len(),
                "removed what dead containers left of networks"
            );
        }
        Err(error) => tracing::warn!(%error, "networks were not put in order"),
    }
}

impl Supervisor {
    /// All networks. What is asked of them blocks, for milliseconds.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Removes what owners left of networks that are gone: of plain microVMs, whose ends nobody sees here, too. Blocking, for
    /// milliseconds.
    pub fn tidy_networks(&self) {
        recover(&self.networks);
    }

    /// Makes a network. Blocking, for milliseconds.
    ///
    /// # Errors
    /// Its name or its addresses are taken, or it makes no sense.
    pub fn create_network(&self, spec: &NetworkSpec) -> Result<Network, Error> {
        let network = self.networks.create(spec)?;
        self.publish_network(&network, "create", []);
        Ok(network)
    }

    /// Removes a network in which nobody is. Blocking, for milliseconds.
    ///
    /// # Errors
    /// Somebody is.
    pub fn remove_network(&self, network: &Network) -> Result<(), Error> {
        network.clone().remove()?;
        self.publish_network(network, "destroy", []);
        Ok(())
    }

    pub(super) fn publish_network<const N: usize>(
        &self,
        network: &Network,
        action: &str,
        more: [(&str, String); N],
    ) {
        self.publish_of_network(network.id().as_str(), network.name(), action, more);
    }

    pub(super) fn publish_of_network<const N: usize>(
        &self,
        id: &str,
        name: &str,
        action: &str,
        more: [(&str, String); N],
    ) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), name.to_owned()),
            ("type".to_owned(), "bridge".to_owned()),
        ]);
        attributes.extend(more.map(|(name, value)| (name.to_owned(), value)));
        self.events.publish(Event {
            kind: EventKind::Network,
            action: action.to_owned(),
            actor: id.to_owned(),
            attributes,
            time: Timestamp::now(),
        });
    }
}
