//! One container of the daemon's.

mod adopt;
mod asking;
mod checkpoints;
mod ends;
mod execs;
mod guest;
mod networks;
mod owner;
mod remove;
mod saving;
mod start;
mod stop;
mod streams;
mod update;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use jiff::Timestamp;
use tokio::sync::watch;

use super::Supervisor;
use super::events::{Event, EventKind};
use super::life::{self, Life, WaitCondition, Waited};
use crate::Error;
use crate::container::{ContainerConfig, ContainerId, Record, Shelf, State};
use crate::health::Health;
use crate::owner::ended::Ended;
use crate::wired::Connected;
use ends::Ends;
pub use guest::Guest;
use guest::Turn;
use owner::Hold;
pub use remove::Remove;
pub use saving::{Fork, Forked};
use start::Untold;
pub use start::{Start, Started};
pub use stop::Stop;
pub use update::Update;

/// A container.
#[derive(Debug)]
pub struct Container {
    id: ContainerId,
    supervisor: Weak<Supervisor>,
    shelf: Shelf,
    record: RwLock<Arc<Record>>,
    life: watch::Sender<Life>,
    /// Whether there is an owner.
    hold: watch::Sender<Hold>,
    /// Held by whoever starts it or removes it.
    turn: Arc<tokio::sync::Mutex<Turn>>,
    ends: Mutex<Ends>,
    /// A start of which nobody was told yet.
    untold: Mutex<Option<Untold>>,
    /// The networks of which it was told that it came to them.
    told: Mutex<Vec<Connected>>,
    /// Those of its execs that have ended and are still known.
    ended_execs: Mutex<Ended>,
    /// The size of its terminal, if it was told before the start.
    size: Mutex<Option<(u16, u16)>>,
    /// Held by whoever writes it to files: one at a time.
    saving: tokio::sync::Mutex<()>,
    /// Somebody wants to know what the VMM counts in this life of it.
    measured: AtomicBool,
}

/// What whoever asked for a container wanted to be told again.
#[derive(Clone, Debug)]
pub struct Client(Arc<Record>);

impl Deref for Client {
    type Target = serde_json::Value;

    fn deref(&self) -> &serde_json::Value {
        &self.0.client
    }
}

impl Container {
    pub(super) fn new(supervisor: &Arc<Supervisor>, record: Record, state: State) -> Arc<Self> {
        let ends = Ends::read(&supervisor.shelf.directory(&record.id));
        let life = Life {
            state,
            exits: 0,
            suspends: 0,
            restarting: false,
            restarts: ends.restarts(),
            removed: false,
            metrics: None,
        };
        Arc::new(Self {
            id: record.id.clone(),
            supervisor: Arc::downgrade(supervisor),
            shelf: supervisor.shelf.clone(),
            record: RwLock::new(Arc::new(record)),
            life: watch::Sender::new(life),
            hold: watch::Sender::new(Hold::Nobody),
            turn: Arc::default(),
            ends: Mutex::new(ends),
            untold: Mutex::default(),
            told: Mutex::default(),
            ended_execs: Mutex::default(),
            size: Mutex::default(),
            saving: tokio::sync::Mutex::default(),
            measured: AtomicBool::default(),
        })
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.record().name.clone()
    }

    /// Whether this is its name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.record().name == name
    }

    /// Its image's id.
    #[must_use]
    pub fn image_id(&self) -> String {
        self.record().image_id.clone()
    }

    /// What was asked for.
    #[must_use]
    pub fn config(&self) -> ContainerConfig {
        self.record().config.clone()
    }

    /// What runs in it: its program and arguments, as merged with the image's.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        self.record().command.clone()
    }

    /// What whoever asked for it wanted to be told again.
    #[must_use]
    pub fn client(&self) -> Client {
        Client(self.record())
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.life.borrow().state.created
    }

    /// What it does.
    #[must_use]
    pub fn state(&self) -> State {
        self.life.borrow().state.clone()
    }

    /// What its health checks have found since its last start; nothing if it has none, or never ran.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.record().config.health.as_ref()?;
        Health::read(&self.shelf.directory(&self.id))
    }

    /// Whether it has ended and is about to be started again.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        self.life.borrow().restarting
    }

    /// How often it was started again by its restart policy.
    #[must_use]
    pub fn restart_count(&self) -> u32 {
        self.life.borrow().restarts
    }

    /// Where its log is, if it has one.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.shelf.directory(&self.id).log(&self.id)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.shelf.directory(&self.id).path().to_owned()
    }

    /// How many bytes its writable disk takes on the host.
    #[must_use]
    pub fn disk_usage(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let disk = std::fs::metadata(self.shelf.directory(&self.id).disk());
        disk.map_or(0, |disk| disk.blocks() * 512)
    }

    /// Whether it is no more.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.life.borrow().removed
    }

    /// Tells that a client did something with it.
    pub fn tell(&self, action: &str) {
        self.publish(action, []);
    }

    fn record(&self) -> Arc<Record> {
        let record = self.record.read();
        Arc::clone(&record.unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known of its record.
    fn note<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut known = self.record.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut known))
    }

    pub(super) fn supervisor(&self) -> Option<Arc<Supervisor>> {
        self.supervisor.upgrade()
    }

    pub(super) fn runtime(&self) -> PathBuf {
        self.shelf.runtime(&self.id)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that something happened to it.
    pub(super) fn publish<const N: usize>(&self, action: &str, more: [(&str, String); N]) {
        let Some(supervisor) = self.supervisor.upgrade() else {
            return;
        };
        let record = self.record();
        let mut attributes: BTreeMap<String, String> = record.config.labels.clone();
        attributes.insert("image".to_owned(), record.config.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        for (name, value) in more {
            attributes.insert(name.to_owned(), value);
        }
        supervisor.events.publish(Event {
            kind: EventKind::Container,
            action: action.to_owned(),
            actor: self.id.to_string(),
            attributes,
            time: Timestamp::now(),
        });
    }

    /// Waits from now on for what `condition` says.
    pub fn wait(
        &self,
        condition: WaitCondition,
    ) -> impl Future<Output = Result<Waited, Error>> + Send + use<> {
        life::wait(self.life.subscribe(), condition)
    }
}

#[cfg(test)]
mod tests;
