//! Snapshots that have names, and containers that go on from a snapshot.

use std::sync::Arc;

use serde_json::Value;

use super::{Container, Supervisor};
use crate::container::{self, Held, Record, RestartPolicy, Shelf};
use crate::engine::Changes;
use crate::network::HostPorts;
use crate::snapshot::{Manifest, SnapshotError, SnapshotRef, Snapshots};
use crate::{ContainerConfig, Error};

impl Supervisor {
    /// Containers in files.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::at(self.paths.snapshots())
    }

    /// Removes a snapshot; containers that began as it go on. Blocking.
    ///
    /// # Errors
    /// There is none of this name, a container has yet to be started from it, or it cannot be removed.
    pub fn remove_snapshot(&self, name: &str) -> Result<(), Error> {
        let named = SnapshotRef::Named(name.to_owned());
        let all = self.list();
        if let Some(needs) = all.iter().find(|one| one.awaits() == Some(named.clone())) {
            return Err(SnapshotError::InUse {
                name: name.to_owned(),
                by: needs.name(),
            }
            .into());
        }
        Ok(self.snapshots().remove(name)?)
    }

    /// Makes a container that goes on from a snapshot when it is started. Of its configuration only what `changes` says is another, and
    /// what two containers cannot have at once.
    ///
    /// # Errors
    /// There is no such snapshot, it cannot be used, or the name is taken.
    pub async fn create_from(
        self: &Arc<Self>,
        snapshot: &str,
        changes: Changes,
    ) -> Result<Arc<Container>, Error> {
        let (manifest, _) = self.snapshots().open(snapshot)?;
        let which = SnapshotRef::Named(snapshot.to_owned());
        let told = ("snapshot", snapshot.to_owned());
        self.make_from(manifest, which, told, changes).await
    }

    /// The same with a snapshot that was opened, of which this is told.
    pub(super) async fn make_from(
        self: &Arc<Self>,
        manifest: Manifest,
        which: SnapshotRef,
        told: (&str, String),
        changes: Changes,
    ) -> Result<Arc<Container>, Error> {
        if let Some(name) = &changes.name {
            container::check_name(name)?;
        }
        let container = self
            .make(move |shelf, store| {
                // Until a record names it nobody else needs it.
                let _image = store.image(&manifest.record.image_id)?;
                make(shelf, manifest.record, which, changes)
            })
            .await?;
        container.publish("create", [told]);
        Ok(container)
    }
}

fn make(
    shelf: &Shelf,
    saved: Record,
    which: SnapshotRef,
    changes: Changes,
) -> Result<(Held, Record), Error> {
    let (mut config, mut client) = (saved.config.clone(), saved.client.clone());
    let wanted = changes.name.clone();
    change(&mut config, changes);
    change_words(&mut client);
    let made = shelf.make(wanted.as_deref(), |id, name| Record {
        id,
        name,
        config,
        client,
        supervised: true,
        from: Some(which),
        ..saved
    });
    let made = made.map_err(Error::io("make a container in", shelf.path()))?;
    made.map_err(|taken| Error::NameTaken {
        name: wanted.unwrap_or_default(),
        by: taken.0,
    })
}

/// What two containers cannot have at once goes; they have the same image, volumes and networks.
fn change(config: &mut ContainerConfig, changes: Changes) {
    config.name = changes.name;
    config.auto_remove = changes.auto_remove;
    if config.auto_remove {
        config.restart = RestartPolicy::No;
    }
    config.hostname = changes.hostname;
    config.labels.extend(changes.labels);
    for network in &mut config.networks {
        (network.mac, network.addresses) = (None, Vec::new());
    }
    for port in &mut config.ports {
        port.host = HostPorts::Random;
    }
}

/// The same in the client's words.
fn change_words(client: &mut Value) {
    let Some(said) = client.as_object_mut() else {
        return;
    };
    said.remove("MacAddress");
    let bindings = client.pointer_mut("/HostConfig/PortBindings");
    let ports = bindings.and_then(Value::as_object_mut);
    let bindings = ports.into_iter().flat_map(|ports| ports.values_mut());
    for binding in bindings.filter_map(Value::as_array_mut).flatten() {
        if let Some(port) = binding.get_mut("HostPort") {
            *port = Value::String(String::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::NetworkAttachment;

    #[test]
    fn another_container_has_no_addresses_or_ports_of_the_first_one() {
        let mut config = ContainerConfig {
            name: Some("web".to_owned()),
            hostname: Some("web".to_owned()),
            restart: RestartPolicy::Always,
            networks: vec![NetworkAttachment {
                network: "shop".to_owned(),
                addresses: vec!["10.0.0.9".parse().unwrap()],
                mac: Some("02:00:00:00:00:01".parse().unwrap()),
                aliases: vec!["store".to_owned()],
                ..NetworkAttachment::default()
            }],
            ports: vec!["8080:80".parse().unwrap()],
            ..ContainerConfig::default()
        };
        config.labels.insert("a".to_owned(), "b".to_owned());
        let mut removed = config.clone();
        change(&mut config, Changes::default());
        assert_eq!((&config.name, &config.hostname), (&None, &None));
        assert_eq!(config.restart, RestartPolicy::Always);
        assert_eq!(config.networks[0].network, "shop");
        assert_eq!(config.networks[0].aliases, ["store"]);
        assert!(config.networks[0].addresses.is_empty() && config.networks[0].mac.is_none());
        assert_eq!(config.ports[0].host, HostPorts::Random);
        assert_eq!(config.labels["a"], "b");

        let changes = Changes {
            auto_remove: true,
            ..Changes::default()
        };
        change(&mut removed, changes);
        assert_eq!(
            removed.restart,
            RestartPolicy::No,
            "it goes instead of starting again"
        );

        let mut client = json!({
            "MacAddress": "02:00:00:00:00:01",
            "Image": "app",
            "HostConfig": { "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }], "81/tcp": null } },
        });
        change_words(&mut client);
        assert_eq!(
            client,
            json!({
                "Image": "app",
                "HostConfig": { "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "" }], "81/tcp": null } },
            })
        );
        change_words(&mut Value::Null);
    }
}
