//! What can be changed of a container that is there.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Container;
use crate::container::{ContainerConfig, Record, RestartPolicy, check_name};
use crate::engine::Engine;
use crate::errand::{Resources, What};
use crate::{Error, suspended};

/// Changes; what is nothing stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// The limit of memory, in bytes.
    pub memory: Option<u64>,
    /// Processor time in billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// How many processes there may be; `Some(None)` is as many as they like.
    pub pids: Option<Option<u64>>,
    /// What happens after its end.
    pub restart: Option<RestartPolicy>,
    /// What the client's `HostConfig` has from now on.
    pub client: Map<String, Value>,
}

impl Update {
    fn is_of_resources(&self) -> bool {
        self.memory.is_some() || self.nano_cpus.is_some() || self.pids.is_some()
    }

    fn apply(&self, config: &mut ContainerConfig) {
        config.memory = self.memory.or(config.memory);
        config.nano_cpus = self.nano_cpus.or(config.nano_cpus);
        config.pids = self.pids.unwrap_or(config.pids);
        config.restart = self.restart.unwrap_or(config.restart);
    }

    fn apply_to(&self, record: &mut Record) {
        self.apply(&mut record.config);
        let Some(client) = record.client.as_object_mut() else {
            return;
        };
        let host = client
            .entry("HostConfig")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(host) = host {
            host.extend(self.client.clone());
        }
    }
}

impl Container {
    /// Changes what it may use, at once if it runs, and what happens after its end.
    ///
    /// # Errors
    /// It cannot be so, its machine is too small for that, or it cannot be written down.
    pub async fn update(self: &Arc<Self>, update: Update) -> Result<(), Error> {
        // Nobody starts it with what was before.
        let _turn = self.take_turn().await;
        if self.life.borrow().removed {
            return Err(Error::NotFound(self.id.to_string()));
        }
        let mut config = self.config();
        update.apply(&mut config);
        Engine::check(&config)?;
        if update.is_of_resources() && self.life.borrow().is_running() {
            let resources = Resources {
                memory: config.memory,
                nano_cpus: config.nano_cpus,
                pids: config.pids,
            };
            self.errand(What::Limit(resources), "updated").await?;
        }
        if update.is_of_resources()
            && let (Some(supervisor), Some(from)) = (self.supervisor(), self.awaits())
        {
            let (manifest, _) = supervisor.snapshots().follow(&from)?;
            manifest.limited(&config)?;
        }
        if update.is_of_resources() && self.life.borrow().is_suspended() {
            let directory = self.shelf.directory(&self.id);
            let limited = suspended::limit(&directory, config.memory, config.nano_cpus);
            limited.map_err(|why| Error::Refused {
                container: self.id.short().to_owned(),
                what: "updated",
                why,
            })?;
        }
        let (shelf, id, changes) = (self.shelf.clone(), self.id.clone(), update.clone());
        let change = move || shelf.change(&id, |record| changes.apply_to(record));
        let changed = tokio::task::spawn_blocking(change).await;
        let changed = changed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        changed.map_err(Error::io("write", self.path()))?;
        // Only this: it may be getting another name meanwhile.
        self.note(|known| update.apply_to(known));
        self.publish("update", []);
        Ok(())
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// The name is another's, or none.
    pub async fn rename(&self, name: &str) -> Result<(), Error> {
        let name = name.strip_prefix('/').unwrap_or(name).to_owned();
        check_name(&name)?;
        let (shelf, id, to) = (self.shelf.clone(), self.id.clone(), name.clone());
        let renamed = tokio::task::spawn_blocking(move || shelf.rename(&id, &to)).await;
        let renamed = renamed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let renamed = renamed.map_err(|error| match error.kind() {
            // Somebody removes it at this moment.
            std::io::ErrorKind::NotFound => Error::NotFound(self.id.to_string()),
            _ => Error::io("rename", self.path())(error),
        })?;
        let record = renamed.map_err(|taken| Error::NameTaken { name, by: taken.0 })?;
        let old = self.note(|known| std::mem::replace(&mut known.name, record.name));
        self.publish("rename", [("oldName", format!("/{old}"))]);
        // Others in its networks find it by its name.
        if !self.networks().is_empty()
            && let Err(error) = self.rewire().await
        {
            tracing::warn!(container = %self.id, %error, "a container is not found by its new name");
        }
        Ok(())
    }

    /// Lets one stay that was to be removed at its end.
    pub(in crate::supervisor) async fn outlive_its_end(&self) -> Result<(), Error> {
        let (shelf, id) = (self.shelf.clone(), self.id.clone());
        let change = move || shelf.change(&id, |record| record.config.auto_remove = false);
        let changed = tokio::task::spawn_blocking(change).await;
        let changed = changed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        changed.map_err(Error::io("write", self.path()))?;
        self.note(|known| known.config.auto_remove = false);
        Ok(())
    }
}
