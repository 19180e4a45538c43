//! The engine: containers made, started, watched and removed, in Docker's order.
//!
//! It lives in the process that runs the containers: they end with it. Everything that other processes
//! must know is on disk (`container::Shelf`).

mod keeping;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hull_agent_protocol::TtySize;
use hull_image::{Store, Use};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use crate::attachment::{self, Attachment};
use crate::container::{self, ContainerConfig, ContainerId, Record, Removal, Shelf, State, Status};
use crate::control::{self, Control};
use crate::disk::Layer;
use crate::doctor;
use crate::handle::{Exit, Handle, Phase};
use crate::host::{Capacity, GuestKernel};
use crate::plan::Plan;
use crate::prepare::KERNEL_LOG;
use crate::programs::Programs;
use crate::running::{self, Surroundings};
use crate::session::Request;
use crate::snapshot::Snapshots;
use crate::spec::{self, Shape};
use crate::template::Templates;
use crate::timing::Timing;
use crate::{Error, Paths, ending, image};
pub use keeping::Changes;

/// Containers of one root directory.
#[derive(Debug)]
pub struct Engine {
    paths: Paths,
    shelf: Shelf,
    store: Store,
    /// Looked for at each start where nobody named them.
    programs: Option<Programs>,
    handles: Mutex<HashMap<ContainerId, Arc<Handle>>>,
}

/// A container that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its identifier.
    pub id: ContainerId,
    /// Its name, chosen or random.
    pub name: String,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The identifier.
    pub id: ContainerId,
    /// The name.
    pub name: String,
    /// The image's id.
    pub image_id: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What was asked for.
    pub config: ContainerConfig,
    /// What it does.
    pub state: State,
}

/// What a machine may start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The nearest template, or a boot where there is none. Templates that are missing are made by the way.
    Nearest,
    /// A boot. No template is used or made.
    Boot,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// The process ended and its state is written.
    Exit,
    /// The machine is gone, too, and a container that was to be removed is.
    Removal,
}

impl Engine {
    /// Opens the root directory, makes it where it is missing, and puts in order what dead owners
    /// left. Blocking, a few milliseconds.
    pub fn open(paths: Paths) -> Result<Self, Error> {
        let shelf = Shelf::open(paths.clone()).map_err(Error::io("make", paths.root()))?;
        shelf.recover().map_err(Error::io(
            "put in order what is left in",
            paths.containers(),
        ))?;
        let store = Store::open(&paths.images())?;
        Ok(Self {
            paths,
            shelf,
            store,
            programs: None,
            handles: Mutex::default(),
        })
    }

    /// As [`open`](Self::open), for an engine whose other parts are in places of their own.
    pub fn with_programs(paths: Paths, programs: Programs) -> Result<Self, Error> {
        Ok(Self {
            programs: Some(programs),
            ..Self::open(paths)?
        })
    }

    /// Checks what is wrong with a configuration whatever the image says. For clients that want to
    /// know before they pull.
    pub fn check(config: &ContainerConfig) -> Result<(), Error> {
        if let Some(name) = &config.name {
            container::check_name(name)?;
        }
        spec::check(config)?;
        Shape::fit(config.memory, config.nano_cpus, Capacity::measure(true))?;
        Layer::new(config.disk, true)?;
        Ok(())
    }

    /// Makes a container of an image that the store has.
    pub async fn create(&self, config: ContainerConfig) -> Result<Created, Error> {
        Self::check(&config)?;
        let image = self.store.image(&config.image)?;
        let defaults = image::defaults(image.config());
        let mut merged = Err(spec::InvalidProcess::NoCommand(config.image.clone()));
        let wanted = config.name.clone();
        // Everything that can be wrong is found out before anything is made.
        let probe = ContainerId::random().map_err(Error::io("read", "/dev/urandom"))?;
        let known = spec::merge(&probe, &defaults, &config)?;
        let made = self.shelf.make(wanted.as_deref(), |id, name| {
            merged = spec::merge(&id, &defaults, &config);
            Record {
                id,
                name,
                image_id: image.id().to_string(),
                command: known.argv,
                stop_signal: known.stop_signal,
                config,
            }
        });
        let made = made.map_err(Error::io("make a container in", self.paths.containers()))?;
        let (held, record) = made.map_err(|taken| Error::NameTaken {
            name: wanted.unwrap_or_default(),
            by: taken.0,
        })?;
        let created = Created {
            id: record.id.clone(),
            name: record.name.clone(),
        };
        let shape = Shape::fit(
            record.config.memory,
            record.config.nano_cpus,
            Capacity::measure(true),
        )?;
        let layer = Layer::new(record.config.disk, !record.config.auto_remove)?;
        let plan = Plan {
            held,
            record,
            image,
            merged: merged?,
            shape,
            layer,
            past: None,
        };
        self.insert(plan);
        Ok(created)
    }

    fn insert(&self, plan: Plan) {
        let id = plan.record.id.clone();
        self.handles().insert(id, Arc::new(Handle::new(plan)));
    }

    /// Connects a client to the streams of a container that was not started yet.
    pub fn attach(&self, id: &ContainerId) -> Result<Attachment, Error> {
        let handle = self.handle(id)?;
        let mut pending = lock(&handle.pending);
        let (ours, theirs) = attachment::pair();
        match pending.as_mut() {
            Some(pending) if pending.attached.is_none() => pending.attached = Some(theirs),
            _ => {
                return Err(Error::Order {
                    id: id.clone(),
                    what: "attached to",
                });
            }
        }
        Ok(ours)
    }

    /// Starts a container and returns when its process runs, with where the time went.
    pub async fn start(&self, id: &ContainerId, origin: Origin) -> Result<Timing, Error> {
        let handle = self.handle(id)?;
        let mut timing = Timing::start();
        let Some(mut pending) = lock(&handle.pending).take() else {
            return Err(Error::Order {
                id: id.clone(),
                what: "started",
            });
        };
        let ready = async {
            let runtime = running::make_runtime(&self.shelf, id)?;
            let control = Control::listen(&runtime, Arc::clone(&handle))
                .map_err(running::unbound(&runtime, control::SOCKET))?;
            let (programs, kernel) = self.host().await?;
            let config = &pending.plan.record.config;
            let capacity = Capacity::measure(kernel.fast);
            if pending.plan.past.is_none() {
                pending.plan.shape = Shape::fit(config.memory, config.nano_cpus, capacity)?;
            }
            Ok::<_, Error>((control, programs, kernel))
        };
        let started = match ready.await {
            Ok((control, programs, kernel)) => {
                timing.step("host profile");
                let templates = match origin {
                    _ if std::env::var_os(KERNEL_LOG).is_some() => None,
                    Origin::Boot => None,
                    Origin::Nearest => Some(self.templates()),
                };
                let around = self.around(&programs, &kernel, &handle.kill, templates);
                let started = running::start(pending, around, &mut timing).await;
                started.map(|running| (running, control))
            }
            Err(error) => Err((pending.plan, error)),
        };
        match started {
            Ok((running, control)) => {
                let shelf = self.shelf.clone();
                tokio::spawn(ending::see_to_the_end(running, control, shelf, handle));
                Ok(timing)
            }
            Err((plan, error)) => {
                ending::never_started(plan, &self.shelf, &handle, &error);
                Err(error)
            }
        }
    }

    /// The parts of Hull, and how a guest's kernel is started on this host.
    async fn host(&self) -> Result<(Programs, GuestKernel), Error> {
        let programs = self.programs.clone().map_or_else(Programs::find, Ok)?;
        let profile = doctor::load_or_probe(&programs.vmm, self.paths.root()).await?;
        Ok((programs, GuestKernel::of(&profile)))
    }

    fn around<'a>(
        &'a self,
        programs: &'a Programs,
        kernel: &'a GuestKernel,
        kill: &'a CancellationToken,
        templates: Option<Templates>,
    ) -> Surroundings<'a> {
        Surroundings {
            shelf: &self.shelf,
            layers: self.paths.layers(),
            templates,
            programs,
            kernel,
            kill,
        }
    }

    /// What a container was asked to be.
    pub fn config(&self, id: &ContainerId) -> Result<ContainerConfig, Error> {
        let directory = self.shelf.directory(id);
        let record = directory.record();
        let record = record.map_err(Error::io("read", directory.path()))?;
        Ok(record.config)
    }

    /// Where the output of a container in the background goes.
    #[must_use]
    pub fn output_file(&self, id: &ContainerId) -> std::path::PathBuf {
        self.shelf.directory(id).path().join("output.log")
    }

    /// Waits for a container of this process.
    pub async fn wait(&self, id: &ContainerId, what: WaitFor) -> Result<Exit, Error> {
        let mut phase = self.handle(id)?.phase.subscribe();
        let reached = phase.wait_for(|phase| match what {
            WaitFor::Exit => *phase != Phase::Waiting,
            WaitFor::Removal => matches!(phase, Phase::Settled(_)),
        });
        // The sender is in the handle, which `phase` came from and which outlives this call.
        match reached.await.as_deref() {
            Ok(Phase::Exited(exit) | Phase::Settled(exit)) => Ok(exit.clone()),
            Ok(Phase::Waiting) | Err(_) => Err(Error::NotFound(id.to_string())),
        }
    }

    /// Asks for what the VMM of a container counts, which its exit then has with it.
    pub fn measure(&self, id: &ContainerId) -> Result<(), Error> {
        self.handle(id)?.measured.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Sends a signal, 1 to 64, to the process of a container of this process.
    pub fn signal(&self, id: &ContainerId, signal: u8) -> Result<(), Error> {
        // Nobody receives it when the process has just ended, which is all the same.
        let _ = self.handle(id)?.requests.send(Request::Signal(signal));
        Ok(())
    }

    /// Tells a container's terminal its size, before the start or later.
    pub fn resize(&self, id: &ContainerId, rows: u16, columns: u16) -> Result<(), Error> {
        let _ = self
            .handle(id)?
            .requests
            .send(Request::Resize(TtySize { rows, columns }));
        Ok(())
    }

    /// Ends a container's machine at once, whatever it does; its exit code is 137.
    pub fn kill(&self, id: &ContainerId) -> Result<(), Error> {
        self.handle(id)?.kill.cancel();
        Ok(())
    }

    /// All containers of the root directory, the youngest first.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let records = self
            .shelf
            .records()
            .map_err(Error::io("read", self.paths.containers()))?;
        let listed = |(record, state): (Record, State)| Listed {
            id: record.id,
            name: record.name,
            image_id: record.image_id,
            command: record.command,
            config: record.config,
            state,
        };
        let mut all: Vec<Listed> = records.into_iter().map(listed).collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.state.created));
        Ok(all)
    }

    /// Which images the containers of a root directory need. Reads a few small files, locks nothing.
    pub fn uses(paths: &Paths) -> Vec<Use> {
        let records = Shelf::at(paths.clone()).records().unwrap_or_default();
        let one = |(record, _): (Record, State)| {
            let image = record.image_id.parse().ok()?;
            Some(Use {
                image,
                by: format!("container {}", record.name),
            })
        };
        let snapshots = Snapshots::at(paths.snapshots()).list().unwrap_or_default();
        let saved = snapshots.into_iter().filter_map(|one| {
            let by = format!("snapshot {}", one.name);
            let image = one.image_id.parse().ok()?;
            Some(Use { image, by })
        });
        records.into_iter().filter_map(one).chain(saved).collect()
    }

    /// Finds a container by name, id, or the beginning of an id.
    pub fn find(&self, text: &str) -> Result<ContainerId, Error> {
        let found = self
            .shelf
            .find(text)
            .map_err(Error::io("read", self.paths.containers()))?;
        match <[ContainerId; 1]>::try_from(found) {
            Ok([id]) => Ok(id),
            Err(none) if none.is_empty() => Err(Error::NotFound(text.to_owned())),
            Err(_) => Err(Error::Ambiguous(text.to_owned())),
        }
    }

    /// Removes a container, of this process or another. One that runs is only removed by `force`.
    pub async fn remove(&self, id: &ContainerId, force: bool) -> Result<(), Error> {
        let directory = self.shelf.directory(id);
        let path = directory.path().to_owned();
        let own = self.handles().remove(id);
        if let Some(pending) = own.and_then(|handle| lock(&handle.pending).take()) {
            let Plan { held, record, .. } = pending.plan;
            return self
                .shelf
                .remove(held, &record)
                .map_err(Error::io("remove", path));
        }
        loop {
            let (shelf, wanted) = (self.shelf.clone(), id.clone());
            let removed = blocking(move || shelf.remove_unowned(&wanted)).await;
            match removed.map_err(Error::io("remove", &path))? {
                Removal::Removed | Removal::Gone => return Ok(()),
                Removal::Owned => {}
            }
            // What has ended is given up by its owner in a moment, when its machine is off.
            let status = directory.state().map(|state| state.status);
            if force {
                self.end_by_force(id).await;
            } else if !matches!(status, Ok(Status::Exited | Status::Suspended)) {
                return Err(Error::Running(id.short().to_owned()));
            }
            self.released(id).await?;
        }
    }

    /// Asks a container to stop by the signal that its image or its maker chose for that, and ends its
    /// machine when it has not after `patience`. It may be another process's. Returns when nothing of it runs.
    pub async fn stop(&self, id: &ContainerId, patience: Duration) -> Result<(), Error> {
        let directory = self.shelf.directory(id);
        let read = Error::io("read", directory.path());
        let (record, state) = match (directory.record(), directory.state()) {
            (Ok(record), Ok(state)) => (record, state),
            (Err(error), _) | (_, Err(error)) => return Err(read(error)),
        };
        if !matches!(state.status, Status::Exited | Status::Suspended) {
            if state.status == Status::Paused {
                // Else nobody would hear it.
                self.unpause(id).await?;
            }
            let signal = control::Ask::Signal(record.stop_signal);
            let asked = control::ask(&self.shelf.runtime(id), signal).await;
            if asked.is_err() && state.status == Status::Created {
                // Nobody has begun to start it.
                return Ok(());
            }
        }
        let mut released = std::pin::pin!(self.released(id));
        match tokio::time::timeout(patience, &mut released).await {
            Ok(released) => released,
            Err(_) => {
                self.end_by_force(id).await;
                released.await
            }
        }
    }

    /// Ends the machine of a container that another process may own. The owner sees it end, writes that down
    /// and lets go; an owner that answers nothing loses its machine all the same.
    async fn end_by_force(&self, id: &ContainerId) {
        let asked = control::ask(&self.shelf.runtime(id), control::Ask::End).await;
        let state = self.shelf.directory(id).state();
        if let (Err(_), Some(vmm)) = (asked, state.ok().and_then(|state| state.vmm)) {
            vmm.signal(Signal::KILL);
        }
    }

    /// Waits until nobody owns a container.
    async fn released(&self, id: &ContainerId) -> Result<(), Error> {
        let directory = self.shelf.directory(id);
        let path = directory.path().to_owned();
        let released = blocking(move || directory.wait_released()).await;
        released.map_err(Error::io("wait for", path))
    }

    /// The directory with a container's log of its microVM.
    pub fn directory(&self, id: &ContainerId) -> impl AsRef<Path> + use<> {
        self.shelf.directory(id).path().to_owned()
    }

    fn handle(&self, id: &ContainerId) -> Result<Arc<Handle>, Error> {
        self.handles()
            .get(id)
            .cloned()
            .ok_or_else(|| Error::NotFound(id.to_string()))
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<ContainerId, Arc<Handle>>> {
        lock(&self.handles)
    }
}

/// Runs what waits for the file system aside.
async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(what).await;
    done.map_err(io::Error::other)?
}

/// Nothing that holds these locks can leave a value half-changed, so poison means nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
