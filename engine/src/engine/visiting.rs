//! The machine of a container that does not run, without its process: for those who want something of its files.

use std::sync::Arc;
use std::time::Duration;

use super::{Engine, blocking, lock};
use crate::container::{ContainerId, Status};
use crate::handle::{Handle, Pending};
use crate::host::Capacity;
use crate::prepare::Sockets;
use crate::session::Idle;
use crate::spec::Shape;
use crate::timing::Timing;
use crate::vm::Machine;
use crate::wired::Wired;
use crate::{Error, running};

/// How long a guest may take to write its disk back and power off before it is ended.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// A machine that runs without its container's process.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) machine: Machine,
    idle: Idle,
    sockets: Sockets,
    /// What a start will need, when this is over.
    pending: Pending,
    handle: Arc<Handle>,
}

impl Engine {
    /// Starts the machine of a container that was claimed, without its process. The container's state says nothing of it: to everybody
    /// else it is what it was, and whoever finds its owner dead finds it so, too.
    /// It is in its networks only if it is `wired`.
    pub(crate) async fn visit(&self, id: &ContainerId, wired: bool) -> Result<Visit, Error> {
        let handle = self.handle(id)?;
        let Some(mut pending) = lock(&handle.pending).take() else {
            return Err(Error::Order {
                id: id.clone(),
                what: "looked into",
            });
        };
        match self.begin_visit(id, wired, &handle, &mut pending).await {
            Ok((machine, idle)) => {
                pending.plan.has_disk = true;
                Ok(Visit {
                    machine,
                    idle,
                    sockets: Sockets::below(&self.shelf.runtime(id)),
                    pending,
                    handle,
                })
            }
            Err(error) => {
                unplug(&mut pending);
                *lock(&handle.pending) = Some(pending);
                Err(error)
            }
        }
    }

    async fn begin_visit(
        &self,
        id: &ContainerId,
        wired: bool,
        handle: &Handle,
        pending: &mut Pending,
    ) -> Result<(Machine, Idle), Error> {
        let state = pending.plan.held.directory().state();
        if state.is_ok_and(|state| state.status == Status::Suspended) {
            // Its memory knows its disk as it is.
            return Err(Error::Suspended(pending.plan.record.name.clone()));
        }
        running::make_runtime(&self.shelf, id)?;
        let directory = pending.plan.held.directory().clone();
        let record = directory.record();
        pending.plan.record = record.map_err(Error::io("read", directory.path()))?;
        pending.plan.wired = match wired {
            true => {
                let (networks, record) = (self.paths.networks(), pending.plan.record.clone());
                let attached =
                    blocking(move || Ok(Wired::attach(&networks, &record, directory.path())));
                attached
                    .await
                    .map_err(Error::io("use", self.paths.networks()))??
            }
            false => Wired::unplugged(pending.plan.interfaces())?,
        };
        let (programs, kernel) = self.host().await?;
        let config = &pending.plan.record.config;
        let capacity = Capacity::measure(kernel.fast);
        pending.plan.shape = Shape::fit(config.memory, config.nano_cpus, capacity)?;
        let _turn = self.turn(&kernel, &handle.kill).await?;
        let around = self.around(&programs, &kernel, &handle.kill, Some(self.templates()));
        running::visit(&pending.plan, &around, &mut Timing::start()).await
    }
}

impl Visit {
    /// Ends it: what was written is on the disk, the machine is gone, and the container can be started.
    pub(crate) async fn end(self) {
        let Self {
            machine,
            idle,
            sockets,
            mut pending,
            handle,
        } = self;
        tokio::select! {
            _ = machine.ended() => {}
            () = handle.kill.cancelled() => {}
            () = tokio::time::sleep(SHUTDOWN) => {
                tracing::warn!("a guest did not power off in time and was ended");
            }
            never = power_off(idle) => match never {},
        }
        machine.kill();
        machine.ended().await;
        sockets.remove();
        unplug(&mut pending);
        *lock(&handle.pending) = Some(pending);
    }
}

/// What a start needs of networks is the start's to make.
fn unplug(pending: &mut Pending) {
    let plan = &mut pending.plan;
    std::mem::take(&mut plan.wired).detach(plan.held.directory().path());
}

async fn power_off(idle: Idle) -> std::convert::Infallible {
    if let Err(error) = idle.shut_down().await {
        tracing::debug!(%error, "a guest was not asked to power off");
    }
    std::future::pending().await
}
