//! All containers of a root directory, as the daemon sees them.
//!
//! Each has an owner of its own (`owner`), a process that outlives the daemon: the supervisor starts it, asks it, and
//! learns from it what happens. What must outlive both is in the container's directory; what a client of the daemon may
//! miss at its end (who waits, who is attached, execs that were not started) is here alone.

mod build;
mod container;
mod events;
mod exec;
mod life;
mod link;
mod machines;
mod networks;
mod restart;
mod snapshots;
mod starts;
mod streams;
mod volumes;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use hull_image::Store;
use rustix::fs::{FlockOperation, flock};

use crate::container::{ContainerConfig, ContainerId, Held, Record, Shelf, State};
use crate::network::Networks;
use crate::volume::Volumes;
use crate::{Error, Paths, engine};

pub use crate::owner::{Attach, ExecSpec};
pub use build::{Build, BuildError, BuildOptions, Report};
pub use container::{Client, Container, Fork, Forked, Guest, Remove, Start, Started, Stop, Update};
pub use events::{Event, EventKind, Events};
pub use exec::{Exec, ExecStatus};
pub use life::{WaitCondition, Waited};
pub use machines::{MachineKind, MachineUsage, RunningMachine};
pub use starts::Starts;
pub use streams::{Detach, Streams};

/// The containers of one root directory.
#[derive(Debug)]
pub struct Supervisor {
    paths: Paths,
    shelf: Shelf,
    store: Store,
    /// The program whose `own` is a container's owner.
    program: PathBuf,
    events: Events,
    networks: Networks,
    starts: Starts,
    containers: RwLock<HashMap<ContainerId, Arc<Container>>>,
    execs: Mutex<HashMap<String, Arc<Exec>>>,
    /// There is one daemon for a root directory.
    _lock: File,
}

impl Supervisor {
    /// Takes over a root directory: what runs in it runs on, what was to be started again is, what was left half done is put in order.
    /// `program` is `hull`.
    ///
    /// # Errors
    /// Another daemon has it, or it cannot be used.
    pub async fn open(paths: Paths, program: PathBuf) -> Result<Arc<Self>, Error> {
        let shelf = Shelf::open(paths.clone()).map_err(Error::io("make", paths.root()))?;
        let lock = lock_daemon(&paths)?;
        shelf
            .recover()
            .map_err(Error::io("put in order what is left in", shelf.path()))?;
        Volumes::at(paths.volumes()).recover(|name| !volumes::users(&shelf, name).is_empty())?;
        let store = Store::open(&paths.images())?;
        let networks = networks::open(&paths)?;
        let supervisor = Arc::new(Self {
            paths,
            shelf,
            store,
            program,
            events: Events::default(),
            networks,
            starts: Starts::default(),
            containers: RwLock::default(),
            execs: Mutex::default(),
            _lock: lock,
        });
        supervisor.adopt().await?;
        Ok(supervisor)
    }

    /// Where everything is.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The images.
    #[must_use]
    pub fn images(&self) -> &Store {
        &self.store
    }

    /// What happens.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// How containers started.
    #[must_use]
    pub fn starts(&self) -> &Starts {
        &self.starts
    }

    /// Makes a container of an image that is there. `client` is whatever whoever asks wants to be told again.
    ///
    /// # Errors
    /// The image is not there, the name is taken, or the configuration makes no container.
    pub async fn create(
        self: &Arc<Self>,
        config: ContainerConfig,
        client: serde_json::Value,
    ) -> Result<Arc<Container>, Error> {
        let container = self
            .make(move |shelf, store| {
                let plan = engine::make(shelf, store, config, Some(client))?;
                Ok((plan.held, plan.record))
            })
            .await?;
        container.publish("create", []);
        Ok(container)
    }

    /// Makes a container, and its volumes.
    async fn make(
        self: &Arc<Self>,
        make: impl FnOnce(&Shelf, &Store) -> Result<(Held, Record), Error> + Send + 'static,
    ) -> Result<Arc<Container>, Error> {
        let (shelf, store, all) = (self.shelf.clone(), self.store.clone(), self.volumes());
        let made = tokio::task::spawn_blocking(move || {
            let (held, record) = make(&shelf, &store)?;
            let path = held.directory().path().to_owned();
            let state = held.directory().state();
            let state = state.map_err(Error::io("read", &path))?;
            // After the record: a volume that is not used could be removed by anybody.
            let made = match volumes::make_all(&all, &record.config.mounts) {
                Ok(made) => made,
                Err(error) => {
                    let removed = shelf.remove(held, &record);
                    removed.map_err(Error::io("remove", path))?;
                    return Err(error);
                }
            };
            // Until it is started nobody owns it.
            Ok::<_, Error>((record, state, made))
        });
        let (record, state, made) = made.await.map_err(|error| {
            Error::io("make a container in", self.shelf.path())(std::io::Error::other(error))
        })??;
        for volume in &made {
            self.publish_volume(volume, "create", []);
        }
        Ok(self.take_up(record, state))
    }

    /// The container with this name, with or without a slash before it, with this id, or whose id begins so.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, text: &str) -> Result<Arc<Container>, Error> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let all = self.known();
        let by_id = ContainerId::try_from(name.to_owned()).ok();
        let by_id = by_id.and_then(|id| all.get(&id));
        if let Some(found) = by_id.or_else(|| all.values().find(|one| one.has_name(name))) {
            return Ok(Arc::clone(found));
        }
        let begins =
            |one: &&Arc<Container>| !name.is_empty() && one.id().as_str().starts_with(name);
        let mut begun = all.values().filter(begins);
        match (begun.next(), begun.next()) {
            (Some(found), None) => Ok(Arc::clone(found)),
            (None, _) => Err(Error::NotFound(text.to_owned())),
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
        }
    }

    /// All of them, the youngest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<_> = self.known().values().cloned().collect();
        all.sort_by_cached_key(|one| std::cmp::Reverse((one.created(), one.id().clone())));
        all
    }

    fn known(&self) -> RwLockReadGuard<'_, HashMap<ContainerId, Arc<Container>>> {
        let containers = self.containers.read();
        containers.unwrap_or_else(PoisonError::into_inner)
    }

    /// A process that was, or will be, run in a container.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn exec(&self, id: &str) -> Result<Arc<Exec>, Error> {
        let found = self.execs().get(id).cloned();
        found.ok_or_else(|| Error::NoExec(id.to_owned()))
    }

    fn execs(&self) -> MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_up(self: &Arc<Self>, record: Record, state: State) -> Arc<Container> {
        let id = record.id.clone();
        let container = Container::new(self, record, state);
        let mut containers = self
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        containers.insert(id, Arc::clone(&container));
        container
    }

    fn forget(&self, id: &ContainerId) {
        let mut containers = self
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        containers.remove(id);
        drop(containers);
        self.execs().retain(|_, exec| exec.container() != *id);
    }

    /// Takes up all containers that are there.
    async fn adopt(self: &Arc<Self>) -> Result<(), Error> {
        let records = self.shelf.records();
        let records = records.map_err(Error::io("read", self.shelf.path()))?;
        for (record, state) in records.into_iter().filter(|(record, _)| record.supervised) {
            let container = self.take_up(record, state);
            if let Err(error) = container.adopt().await {
                tracing::error!(container = %container.id(), %error, "a container was not taken up");
            }
        }
        Ok(())
    }
}

/// There is one daemon for a root directory: the lock goes with it, however it ends.
fn lock_daemon(paths: &Paths) -> Result<File, Error> {
    let path = paths.root().join("daemon.lock");
    let failed = |error| Error::io("lock", &path)(error);
    let file = File::create(&path).map_err(failed)?;
    match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::AnotherDaemon(paths.root().to_owned())),
        Err(error) => Err(Error::io("lock", path)(error.into())),
    }
}
