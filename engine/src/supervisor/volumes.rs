//! Volumes, as the daemon makes and removes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Container, Event, EventKind, Supervisor};
use crate::Error;
use crate::container::{Mount, MountSource, Record, Shelf, State, random_id};
use crate::volume::{ANONYMOUS, Volume, VolumeSpec, Volumes};

impl Supervisor {
    /// The volumes.
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        Volumes::at(self.paths().volumes())
    }

    /// Makes a volume, with a name of the engine's choice where none is given; one that is there stays what it is. Blocking.
    ///
    /// # Errors
    /// It cannot be called so, or cannot be made.
    pub fn create_volume(
        &self,
        name: Option<String>,
        mut spec: VolumeSpec,
    ) -> Result<Volume, Error> {
        let name = match name {
            Some(name) => name,
            None => {
                spec.labels.insert(ANONYMOUS.to_owned(), String::new());
                random_id().map_err(Error::io("read", "/dev/urandom"))?
            }
        };
        let (volume, is_new) = self.volumes().make(&name, &spec)?;
        if is_new {
            self.publish_volume(&volume.name, "create", []);
        }
        Ok(volume)
    }

    /// Removes a volume that no container has. Blocking.
    ///
    /// # Errors
    /// It is not there, a container has it, or it cannot be removed.
    pub fn remove_volume(&self, name: &str) -> Result<Volume, Error> {
        let volume = self.volumes().remove(name, || users(&self.shelf, name))?;
        self.publish_volume(name, "destroy", []);
        Ok(volume)
    }

    /// The identifiers of the containers that each volume is used by. Blocking.
    #[must_use]
    pub fn volume_users(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (record, _) in self.shelf.records().unwrap_or_default() {
            for name in volumes_of(&record.config.mounts) {
                all.entry(name).or_default().push(record.id.to_string());
            }
        }
        all
    }

    pub(super) fn publish_volume<const N: usize>(
        &self,
        name: &str,
        action: &str,
        more: [(&str, String); N],
    ) {
        let mut attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        attributes.extend(more.map(|(name, value)| (name.to_owned(), value)));
        self.events().publish(Event {
            kind: EventKind::Volume,
            action: action.to_owned(),
            actor: name.to_owned(),
            attributes,
            time: Timestamp::now(),
        });
    }

    /// What was to go with a container that is still there stays. Blocking, for a moment.
    pub(super) fn spare(&self, names: &[String]) {
        for name in names {
            if let Err(error) = self.volumes().doom(name, false) {
                tracing::warn!(name, %error, "a volume may go at the daemon's next start");
            }
        }
    }

    /// Removes the volumes that went with a container which is gone.
    pub(super) async fn remove_doomed(self: &Arc<Self>, names: Vec<String>) {
        let supervisor = Arc::clone(self);
        let removed = tokio::task::spawn_blocking(move || {
            for name in names {
                if let Err(error) = supervisor.remove_volume(&name) {
                    tracing::info!(name, %error, "a volume was not removed with its container");
                    supervisor.spare(&[name]);
                }
            }
        });
        let _ = removed.await;
    }
}

/// The names of the volumes among these, each once.
fn volumes_of(mounts: &[Mount]) -> Vec<String> {
    let names = mounts.iter().filter_map(Mount::volume);
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// Who uses a volume, as their records say, which are written before a volume is made.
pub(super) fn users(shelf: &Shelf, name: &str) -> Vec<String> {
    let uses = |(record, _): &(Record, State)| {
        let mut mounts = record.config.mounts.iter();
        mounts.any(|mount| mount.volume() == Some(name))
    };
    let records = shelf.records().unwrap_or_default();
    let users = records.into_iter().filter(uses);
    users.map(|(record, _)| record.id.to_string()).collect()
}

/// Makes the volumes of a container; those that were not there before. If one cannot be made none is.
pub(super) fn make_all(volumes: &Volumes, mounts: &[Mount]) -> Result<Vec<String>, Error> {
    let mut made = Vec::new();
    for mount in mounts {
        let MountSource::Volume { name, spec, .. } = &mount.source else {
            continue;
        };
        match volumes.make(name, spec) {
            Ok((_, true)) => made.push(name.clone()),
            Ok((_, false)) => {}
            Err(error) => {
                for name in made {
                    let _ = volumes.remove(&name, Vec::new);
                }
                return Err(error);
            }
        }
    }
    Ok(made)
}

impl Container {
    /// Notes that its volumes without a name go with it; which those are. Blocking.
    pub(super) fn doom_volumes(&self) -> Result<Vec<String>, Error> {
        let Some(supervisor) = self.supervisor() else {
            return Ok(Vec::new());
        };
        let volumes = supervisor.volumes();
        let mut doomed = Vec::new();
        for name in volumes_of(&self.config().mounts) {
            // One that was removed by hand has gone already.
            if volumes
                .find(&name)
                .is_ok_and(|volume| volume.is_anonymous())
            {
                volumes.doom(&name, true)?;
                doomed.push(name);
            }
        }
        Ok(doomed)
    }

    /// Makes the volumes that a daemon which died did not come to.
    pub(super) async fn make_volumes(&self) -> Result<(), Error> {
        let (Some(supervisor), mounts) = (self.supervisor(), self.config().mounts) else {
            return Ok(());
        };
        let volumes = supervisor.volumes();
        let made = tokio::task::spawn_blocking(move || make_all(&volumes, &mounts)).await;
        made.unwrap_or(Err(Error::Interrupted)).map(drop)
    }

    /// Tells for each volume that the container has it now.
    pub(super) fn publish_mounts(&self) {
        let Some(supervisor) = self.supervisor() else {
            return;
        };
        for mount in &self.config().mounts {
            if let Some(name) = mount.volume() {
                let more = [
                    ("container", self.id().to_string()),
                    ("destination", mount.target.clone()),
                    ("propagation", String::new()),
                    ("read/write", (!mount.read_only).to_string()),
                ];
                supervisor.publish_volume(name, "mount", more);
            }
        }
    }

    /// Tells for each volume that the container does not have it any more.
    pub(super) fn publish_unmounts(&self) {
        let Some(supervisor) = self.supervisor() else {
            return;
        };
        for name in volumes_of(&self.config().mounts) {
            supervisor.publish_volume(&name, "unmount", [("container", self.id().to_string())]);
        }
    }
}
