//! What is made of machines that stand still: templates, snapshots, and containers that are suspended.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Created, Engine, lock};
use crate::container::{self, ContainerConfig, ContainerId, Record, Status};
use crate::errand::What;
use crate::handle::Pending;
use crate::host::Capacity;
use crate::plan::{Past, Plan};
use crate::snapshot::{Snapshots, Taken};
use crate::spec::{self, Shape};
use crate::template::Templates;
use crate::timing::Timing;
use crate::{Error, control, image, running, suspended};

/// How a container that goes on from a snapshot differs from the one that the snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Its name; a random one otherwise.
    pub name: Option<String>,
    /// Whether it is removed at its end.
    pub auto_remove: bool,
    /// Its host name; its short id otherwise.
    pub hostname: Option<String>,
    /// More labels.
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// Makes a container that goes on from a snapshot of another one. Of its configuration only what `changes` says is another.
    pub async fn create_from(&self, snapshot: &str, changes: Changes) -> Result<Created, Error> {
        let (manifest, saved) = self.snapshots().open(snapshot)?;
        if let Some(name) = &changes.name {
            container::check_name(name)?;
        }
        let mut config = manifest.record.config.clone();
        config.name.clone_from(&changes.name);
        config.auto_remove = changes.auto_remove;
        config.hostname = changes.hostname;
        config.labels.extend(changes.labels);
        let image = self.store.image(&manifest.record.image_id)?;
        let defaults = image::defaults(image.config());
        let mut merged = Err(spec::InvalidProcess::NoCommand(config.image.clone()));
        let made = self.shelf.make(changes.name.as_deref(), |id, name| {
            merged = spec::merge(&id, &defaults, &config);
            Record {
                id,
                name,
                config,
                ..manifest.record
            }
        });
        let made = made.map_err(Error::io("make a container in", self.paths.containers()))?;
        let (held, record) = made.map_err(|taken| Error::NameTaken {
            name: changes.name.unwrap_or_default(),
            by: taken.0,
        })?;
        let created = Created {
            id: record.id.clone(),
            name: record.name.clone(),
        };
        self.insert(Plan {
            held,
            record,
            image,
            merged: merged?,
            shape: manifest.shape,
            layer: manifest.layer,
            past: Some(Past {
                saved,
                anothers: true,
            }),
        });
        Ok(created)
    }

    /// Takes a suspended container up again: it can be attached to, and started, as one that was just made.
    pub async fn reopen(&self, id: &ContainerId) -> Result<(), Error> {
        let directory = self.shelf.directory(id);
        let read = |error| Error::io("read", directory.path())(error);
        let (held, record, state) = match self.shelf.hold(id).map_err(read)? {
            Some(found) => found,
            None => return Err(Error::NotSuspended(id.short().to_owned())),
        };
        if state.status != Status::Suspended {
            return Err(Error::NotSuspended(record.name));
        }
        let (past, shape, layer) = suspended::open(held.directory())?;
        let image = self.store.image(&record.image_id)?;
        let defaults = image::defaults(image.config());
        let merged = spec::merge(&record.id, &defaults, &record.config)?;
        self.insert(Plan {
            held,
            record,
            image,
            merged,
            shape,
            layer,
            past: Some(past),
        });
        Ok(())
    }

    /// Has the owner of a running container, which may be another process, do something.
    async fn errand(
        &self,
        id: &ContainerId,
        what: What,
        verb: &'static str,
    ) -> Result<Duration, Error> {
        let directory = self.shelf.directory(id);
        let state = directory
            .state()
            .map_err(Error::io("read", directory.path()))?;
        if !matches!(state.status, Status::Running | Status::Paused) {
            return Err(Error::NotRunning(id.short().to_owned()));
        }
        let asked = control::ask(&self.shelf.runtime(id), control::Ask::Errand(what)).await;
        asked.map_err(|error| Error::Refused {
            container: id.short().to_owned(),
            what: verb,
            why: error.to_string(),
        })
    }

    /// Lets the vCPUs of a container stand still.
    pub async fn pause(&self, id: &ContainerId) -> Result<(), Error> {
        self.errand(id, What::Pause, "paused").await.map(drop)
    }

    /// Lets them run again.
    pub async fn unpause(&self, id: &ContainerId) -> Result<(), Error> {
        self.errand(id, What::Unpause, "unpaused").await.map(drop)
    }

    /// Writes a container's machine to files, and ends it; [`Engine::reopen`] takes it up again.
    pub async fn suspend(&self, id: &ContainerId) -> Result<(), Error> {
        self.errand(id, What::Suspend, "suspended").await?;
        self.released(id).await
    }

    /// Takes a snapshot of a running container, which goes on.
    pub async fn snapshot(&self, id: &ContainerId, name: &str) -> Result<Taken, Error> {
        let snapshots = self.snapshots();
        let draft = snapshots.begin(name)?;
        // Now: one that is removed at its end may have ended by the time that it is saved.
        let subject = suspended::subject(&self.shelf.directory(id));
        let what = What::Save(draft.path().to_owned());
        let stood_still = self.errand(id, what, "saved").await?;
        snapshots.publish(name, draft, subject?)?;
        Ok(Taken { stood_still })
    }

    /// Containers in files.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::at(self.paths.snapshots())
    }

    /// Makes the templates that a container of this configuration would start from, as far as they are missing. Whether any were.
    pub async fn build_templates(&self, config: ContainerConfig) -> Result<bool, Error> {
        let id = match self.create(config.clone()).await {
            Err(Error::Process(spec::InvalidProcess::NoCommand(_))) => {
                // No program runs, so that none need be known.
                let entrypoint = Some("/".to_owned());
                let config = ContainerConfig {
                    entrypoint,
                    ..config
                };
                self.create(config).await?.id
            }
            created => created?.id,
        };
        let pending = lock(&self.handle(&id)?.pending).take();
        self.handles().remove(&id);
        let Some(Pending { mut plan, .. }) = pending else {
            return Err(Error::NotFound(id.to_string()));
        };
        let build = async {
            running::make_runtime(&self.shelf, &id)?;
            let (programs, kernel) = self.host().await?;
            let config = &plan.record.config;
            let capacity = Capacity::measure(kernel.fast);
            plan.shape = Shape::fit(config.memory, config.nano_cpus, capacity)?;
            let kill = CancellationToken::new();
            let around = self.around(&programs, &kernel, &kill, Some(self.templates()));
            running::build(&plan, &around, &mut Timing::start()).await
        };
        let built = build.await;
        let path = plan.held.directory().path().to_owned();
        let removed = self.shelf.remove(plan.held, &plan.record);
        removed.map_err(Error::io("remove", path))?;
        built
    }

    /// The machines at rest that others start from.
    #[must_use]
    pub fn templates(&self) -> Templates {
        Templates::at(self.paths.templates())
    }
}
