//! The engine: containers made, started and watched to their ends, in Docker's order.
//!
//! It lives in the process that runs the containers: they end with it. Everything that other processes
//! must know is on disk (`container::Shelf`).

mod keeping;
mod mounting;
mod visiting;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hull_agent_protocol::TtySize;
use hull_image::{Store, Use};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::attachment::{self, Attachment};
use crate::container::{self, ContainerConfig, ContainerId, Record, Shelf, State};
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
use crate::turns::{Turn, Turns};
use crate::volume::Volumes;
use crate::wired::{self, Wired};
use crate::{Error, Paths, ending, image};
pub use keeping::Changes;
pub(crate) use keeping::Claimed;

/// Containers of one root directory.
#[derive(Debug)]
pub struct Engine {
    paths: Paths,
    shelf: Shelf,
    store: Store,
    /// Looked for at each start where nobody named them.
    programs: Option<Programs>,
    handles: Mutex<HashMap<ContainerId, Arc<Handle>>>,
    turns: Turns,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The nearest template, or a boot where there is none. Templates that are missing are made by the way.
    #[default]
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
        Self::of(paths, shelf)
    }

    /// As [`open`](Self::open), for the owner of a container that somebody else has just looked after: what dead owners left is not looked for.
    pub fn of_owner(paths: Paths) -> Result<Self, Error> {
        let shelf = Shelf::at(paths.clone());
        Self::of(paths, shelf)
    }

    fn of(paths: Paths, shelf: Shelf) -> Result<Self, Error> {
        let store = Store::open(&paths.images())?;
        Ok(Self {
            turns: Turns::at(paths.turns()),
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
        mounting::check(config)?;
        Shape::fit(config.memory, config.nano_cpus, Capacity::measure(true))?;
        Layer::new(config.disk, true)?;
        wired::check(config)
    }

    /// Makes a container of an image that the store has.
    pub async fn create(&self, config: ContainerConfig) -> Result<Created, Error> {
        let plan = make(&self.shelf, &self.store, config, None)?;
        let created = Created {
            id: plan.record.id.clone(),
            name: plan.record.name.clone(),
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
            let directory = pending.plan.held.directory().clone();
            // It may have come to other networks, or another name, since it was taken up.
            let now = directory.record();
            let now = now.map_err(Error::io("read", directory.path()))?;
            pending.plan.record = now.clone();
            // Beside the rest, and waited for however that ends: what it has made is the plan's to undo.
            let networks = self.paths.networks();
            let attaching = blocking(move || Ok(Wired::attach(&networks, &now, directory.path())));
            let (attached, host) = tokio::join!(attaching, self.host());
            pending.plan.wired = attached.map_err(Error::io("use", self.paths.networks()))??;
            let (programs, kernel) = host?;
            let config = &pending.plan.record.config;
            let capacity = Capacity::measure(kernel.fast);
            if pending.plan.past.is_none() {
                pending.plan.shape = Shape::fit(config.memory, config.nano_cpus, capacity)?;
            }
            timing.step("host profile and network");
            let turn = self.turn(&kernel, &handle.kill).await?;
            if turn.is_some() {
                timing.step("turn");
            }
            Ok::<_, Error>((control, programs, kernel, turn))
        };
        let started = match ready.await {
            Ok((control, programs, kernel, turn)) => {
                let templates = match origin {
                    _ if std::env::var_os(KERNEL_LOG).is_some() => None,
                    Origin::Boot => None,
                    Origin::Nearest => Some(self.templates()),
                };
                let around = self.around(&programs, &kernel, &handle.kill, templates);
                let started = running::start(pending, around, &mut timing).await;
                drop(turn);
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

    /// Waits until one more machine may start, where too many at once would come up never.
    async fn turn(
        &self,
        kernel: &GuestKernel,
        kill: &CancellationToken,
    ) -> Result<Option<Turn>, Error> {
        match kernel.fast {
            true => Ok(None),
            false => self.turns.take(kill).await.map(Some),
        }
    }

    /// The volumes.
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        Volumes::at(self.paths.volumes())
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
            volumes: self.volumes(),
            templates,
            programs,
            kernel,
            kill,
        }
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

/// Makes a container of an image that the store has. One that has a `client` is the daemon's.
pub(crate) fn make(
    shelf: &Shelf,
    store: &Store,
    mut config: ContainerConfig,
    client: Option<serde_json::Value>,
) -> Result<Plan, Error> {
    Engine::check(&config)?;
    let image = store.image(&config.image)?;
    let defaults = image::defaults(image.config());
    if client.is_some() {
        // What the image wants to be kept apart is a volume like any other; without a daemon nobody sees to those.
        mounting::add_image_s(&mut config, &defaults.volumes);
    }
    mounting::name(&mut config)?;
    mounting::check(&config)?;
    mounting::check_sources(&config)?;
    wired::check(&config)?;
    config.interfaces = wired::interfaces(config.networks.len(), config.mounts.len());
    let mut merged = Err(spec::InvalidProcess::NoCommand(config.image.clone()));
    let wanted = config.name.clone();
    // Everything that can be wrong is found out before anything is made.
    let probe = ContainerId::random().map_err(Error::io("read", "/dev/urandom"))?;
    let known = spec::merge(&probe, &defaults, &config)?;
    let made = shelf.make(wanted.as_deref(), |id, name| {
        merged = spec::merge(&id, &defaults, &config);
        Record {
            id,
            name,
            image_id: image.id().to_string(),
            command: known.argv,
            stop_signal: known.stop_signal,
            config,
            supervised: client.is_some(),
            client: client.unwrap_or_default(),
            from: None,
        }
    });
    let made = made.map_err(|error| Error::io("make a container in", shelf.path())(error))?;
    let (held, record) = made.map_err(|taken| Error::NameTaken {
        name: wanted.unwrap_or_default(),
        by: taken.0,
    })?;
    let config = &record.config;
    let shape = Shape::fit(config.memory, config.nano_cpus, Capacity::measure(true))?;
    let layer = Layer::new(config.disk, !config.auto_remove)?;
    Ok(Plan {
        held,
        record,
        image,
        merged: merged?,
        shape,
        layer,
        has_disk: false,
        wired: Wired::default(),
        past: None,
    })
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
