//! What is made of machines that stand still: templates, snapshots, and containers that are suspended.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::{Engine, lock};
use crate::container::{ContainerConfig, ContainerId, Record, Shelf, Status};
use crate::disk::Layer;
use crate::handle::Pending;
use crate::host::Capacity;
use crate::plan::{Past, Plan};
use crate::snapshot::Snapshots;
use crate::spec::{self, Merged, Shape};
use crate::template::Templates;
use crate::timing::Timing;
use crate::wired::Wired;
use crate::{Error, image, running, suspended};

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

/// A container that its owner has taken up.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) record: Record,
    pub(crate) merged: Merged,
}

impl Engine {
    /// Takes up a container that nobody owns, to be attached to and started as one that was just made: one that was never started, that has
    /// ended, or that is suspended.
    pub(crate) fn claim(&self, id: &ContainerId) -> Result<Claimed, Error> {
        let directory = self.shelf.directory(id);
        let held = self.shelf.hold(id);
        let (held, record, state) = held
            .map_err(Error::io("read", directory.path()))?
            .ok_or_else(|| Error::NotFound(id.to_string()))?;
        let image = self.store.image(&record.image_id)?;
        let defaults = image::defaults(image.config());
        let merged = spec::merge(&record.id, &defaults, &record.config)?;
        let has_disk = held.directory().disk().exists();
        let (past, shape, layer) = match (state.status, &record.from) {
            (Status::Suspended, _) => {
                let (past, shape, layer) = suspended::open(held.directory())?;
                (Some(past), shape, layer)
            }
            (_, Some(from)) if !has_disk => {
                let snapshots = Snapshots::at(self.paths.snapshots());
                let (manifest, saved) = snapshots.follow(from)?;
                let past = Past {
                    saved,
                    anothers: true,
                };
                let shape = manifest.limited(&record.config)?;
                (Some(past), shape, manifest.layer)
            }
            _ => {
                let config = &record.config;
                let shape = Shape::fit(config.memory, config.nano_cpus, Capacity::measure(true))?;
                (None, shape, Layer::new(config.disk, !config.auto_remove)?)
            }
        };
        let claimed = Claimed {
            record: record.clone(),
            merged: merged.clone(),
        };
        self.insert(Plan {
            held,
            record,
            image,
            merged,
            shape,
            layer,
            has_disk,
            wired: Wired::default(),
            past,
        });
        Ok(claimed)
    }

    /// Makes a container that was claimed go on from one of its checkpoints, its disk included, when it is started.
    pub(crate) fn go_back(&self, id: &ContainerId, checkpoint: &str) -> Result<(), Error> {
        let handle = self.handle(id)?;
        let mut pending = lock(&handle.pending);
        let Some(pending) = pending.as_mut() else {
            return Err(Error::Order {
                id: id.clone(),
                what: "taken back",
            });
        };
        let plan = &mut pending.plan;
        let checkpoints = Snapshots::at(plan.held.directory().checkpoints());
        let (manifest, saved) = checkpoints.open(checkpoint)?;
        plan.shape = manifest.shape;
        plan.layer = manifest.layer;
        plan.past = Some(Past {
            saved,
            // A machine of this container, but not the one that was suspended.
            anothers: true,
        });
        Ok(())
    }

    /// Gives a container up that was claimed and not started, with its runtime files.
    pub(crate) fn leave(&self, id: &ContainerId) -> Result<(), Error> {
        let handle = self.handles().remove(id);
        let pending = handle.and_then(|handle| lock(&handle.pending).take());
        let removed = self.shelf.remove_runtime(id);
        // Its lock goes last: until then nobody else begins.
        drop(pending);
        removed.map_err(Error::io("remove", self.shelf.runtime(id)))
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Makes the templates that a container of this configuration would start from, as far as they are missing. Whether any were.
    pub async fn build_templates(&self, config: ContainerConfig) -> Result<bool, Error> {
        let id = match self.create(config.clone()).await {
            Err(Error::Process(spec::InvalidProcess::NoCommand(_))) => {
                // No program runs, so that none need be known.
                let entrypoint = Some(vec!["/".to_owned()]);
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
            plan.wired = Wired::unplugged(plan.interfaces())?;
            let kill = CancellationToken::new();
            let _turn = self.turn(&kernel, &kill).await?;
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
