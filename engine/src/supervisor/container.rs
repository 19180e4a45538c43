//! One container of the daemon's.

mod checkpoints;
mod ends;
mod guest;
mod networks;
mod owner;
mod saving;
mod start;
mod update;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use tokio::sync::watch;

use super::events::{Event, EventKind};
use super::exec::{Exec, ExecStatus};
use super::life::{self, Life, WaitCondition, Waited};
use super::streams::Streams;
use super::{Supervisor, link};
use crate::Error;
use crate::container::{
    ContainerConfig, ContainerId, Record, Shelf, State, Status, check_name, random_id,
};
use crate::control;
use crate::errand::What;
use crate::health::Health;
use crate::log::{self, Logs, LogsWanted};
use crate::owner::wire::Ask;
use crate::owner::{Attach, ExecSpec};
use crate::wired::Connected;
use ends::Ends;
pub use guest::Guest;
use guest::Turn;
use owner::Hold;
pub use saving::{Fork, Forked};
pub use start::{Start, Started};
pub use update::Update;

/// How long a stop waits before it uses force, where nobody says.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest may take to end a process by SIGKILL, before its machine is ended.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A container.
#[derive(Debug)]
pub struct Container {
    id: ContainerId,
    supervisor: Weak<Supervisor>,
    shelf: Shelf,
    record: RwLock<Record>,
    life: watch::Sender<Life>,
    /// Whether there is an owner.
    hold: watch::Sender<Hold>,
    /// Held by whoever starts it or removes it.
    turn: Arc<tokio::sync::Mutex<Turn>>,
    ends: Mutex<Ends>,
    /// The networks of which it was told that it came to them.
    told: Mutex<Vec<Connected>>,
    /// The size of its terminal, if it was told before the start.
    size: Mutex<Option<(u16, u16)>>,
    /// Held by whoever writes it to files: one at a time.
    saving: tokio::sync::Mutex<()>,
    /// It was told to start and does not run yet.
    starting: AtomicBool,
    /// Somebody wants to know what the VMM counts in this life of it.
    measured: AtomicBool,
}

/// How to stop a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// The signal that asks it to, 1 to 64; its own without one.
    pub signal: Option<u8>,
    /// How long to wait before force is used; its own time without one.
    pub timeout: Option<Duration>,
}

/// How to remove a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remove {
    /// It may run.
    pub force: bool,
    /// Its volumes without a name go with it.
    pub volumes: bool,
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
            record: RwLock::new(record),
            life: watch::Sender::new(life),
            hold: watch::Sender::new(Hold::Nobody),
            turn: Arc::default(),
            ends: Mutex::new(ends),
            told: Mutex::default(),
            size: Mutex::default(),
            saving: tokio::sync::Mutex::default(),
            starting: AtomicBool::default(),
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
        self.record().name
    }

    /// Its image's id.
    #[must_use]
    pub fn image_id(&self) -> String {
        self.record().image_id
    }

    /// What was asked for.
    #[must_use]
    pub fn config(&self) -> ContainerConfig {
        self.record().config
    }

    /// What runs in it: its program and arguments, as merged with the image's.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        self.record().command
    }

    /// What whoever asked for it wanted to be told again.
    #[must_use]
    pub fn client(&self) -> serde_json::Value {
        self.record().client
    }

    /// What it does.
    #[must_use]
    pub fn state(&self) -> State {
        self.life.borrow().state.clone()
    }

    /// What its health checks have found since its last start; nothing if it has none, or never ran.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.config().health?;
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

    /// Its execs that have not ended.
    #[must_use]
    pub fn execs(&self) -> Vec<String> {
        let Some(supervisor) = self.supervisor.upgrade() else {
            return Vec::new();
        };
        let execs = supervisor.execs();
        let own = execs.values().filter(|exec| exec.container() == self.id);
        own.filter(|exec| !matches!(exec.status(), ExecStatus::Exited { .. }))
            .map(|exec| exec.id().to_owned())
            .collect()
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

    fn record(&self) -> Record {
        let record = self.record.read();
        record.unwrap_or_else(PoisonError::into_inner).clone()
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
        let mut attributes: BTreeMap<String, String> = record.config.labels;
        attributes.insert("image".to_owned(), record.config.image);
        attributes.insert("name".to_owned(), record.name);
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

    /// Connects to its streams, before its start, too.
    ///
    /// # Errors
    /// It has ended, or its owner cannot be started.
    pub async fn attach(self: &Arc<Self>, what: Attach) -> Result<Streams, Error> {
        let exits = {
            let _turn = self.take_turn().await;
            // What comes is the end of this life of it.
            let exits = self.life.borrow().exits;
            self.have_owner().await?;
            exits
        };
        let ask = Ask::Attach { exec: None, what };
        let answered = self.ask(&ask).await?;
        self.publish("attach", []);
        let mut life = self.life.subscribe();
        let gate = async move {
            let over = |life: &Life| life.removed || life.exits > exits || !life.is_running();
            let _ = life.wait_for(over).await;
        };
        Ok(Streams::new(answered, Box::pin(gate)))
    }

    /// Stops it; false if it does not run.
    ///
    /// # Errors
    /// Its owner cannot be asked.
    pub async fn stop(self: &Arc<Self>, how: Stop) -> Result<bool, Error> {
        self.ends().note_stop(&self.shelf.directory(&self.id));
        if self.call_off_restart() {
            self.publish("stop", []);
            return Ok(true);
        }
        if !self.life.borrow().is_running() {
            return Ok(false);
        }
        let record = self.record();
        let signal = how.signal.unwrap_or(record.stop_signal);
        let patience = how.timeout.or(record.config.stop_timeout);
        let patience = patience.unwrap_or(PATIENCE);
        let ended = self.wait(WaitCondition::NextExit);
        // One whose vCPUs stand still would hear nothing.
        if self.life.borrow().state.status == Status::Paused {
            self.unpause().await?;
        }
        if self.signal(signal).await.is_ok() {
            let patient = tokio::time::timeout(patience, ended).await;
            if patient.is_err() {
                self.end_by_force().await;
            }
        } else {
            self.end_by_force().await;
        }
        self.publish("stop", []);
        Ok(true)
    }

    /// Stops it, if it runs, and starts it again.
    ///
    /// # Errors
    /// As [`stop`](Self::stop) and [`start`](Self::start).
    pub async fn restart(self: &Arc<Self>, how: Stop) -> Result<(), Error> {
        self.ends().note_restart();
        let stopped = self.stop(how).await;
        // It may not have run.
        self.ends().take_restart();
        stopped?;
        self.start().await?;
        self.publish("restart", []);
        Ok(())
    }

    /// Sends a signal, 1 to 64, to its process. SIGKILL returns when it has ended; it ends a start, too.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(self: &Arc<Self>, signal: u8) -> Result<(), Error> {
        let kills = i32::from(signal) == Signal::KILL.as_raw();
        if !self.life.borrow().is_running() {
            return match kills && self.interrupt().await {
                true => Ok(()),
                false => Err(Error::NotRunning(self.id.to_string())),
            };
        }
        if kills || signal == self.record().stop_signal {
            self.ends().note_stop(&self.shelf.directory(&self.id));
        }
        if kills {
            self.publish("kill", [("signal", signal.to_string())]);
            self.end_by_force().await;
            return Ok(());
        }
        let paused = self.life.borrow().state.status == Status::Paused;
        if paused {
            return Err(Error::Paused(self.name(), "kill"));
        }
        self.signal(signal).await
    }

    async fn signal(&self, signal: u8) -> Result<(), Error> {
        self.publish("kill", [("signal", signal.to_string())]);
        let asked = control::ask(&self.runtime(), control::Ask::Signal(signal)).await;
        asked
            .map_err(|error| self.owner_error(error.to_string()))
            .map(drop)
    }

    /// Ends its process; if its guest does not do that, its machine.
    async fn end_by_force(&self) {
        let ended = self.wait(WaitCondition::NextExit);
        let runtime = self.runtime();
        let paused = self.life.borrow().state.status == Status::Paused;
        let kill = control::Ask::Signal(9);
        if !self.life.borrow().is_running() {
            return;
        }
        let mut ended = std::pin::pin!(ended);
        if !paused && control::ask(&runtime, kill).await.is_ok() {
            let patient = tokio::time::timeout(KILL_PATIENCE, &mut ended).await;
            if patient.is_ok() {
                return;
            }
        }
        // An owner that does not answer loses its machine all the same.
        if control::ask(&runtime, control::Ask::End).await.is_err()
            && let Some(vmm) = self
                .shelf
                .directory(&self.id)
                .state()
                .ok()
                .and_then(|s| s.vmm)
        {
            vmm.signal(Signal::KILL);
        }
        if self.life.borrow().is_running() {
            let _ = ended.await;
        }
    }

    /// Lets its vCPUs stand still.
    ///
    /// # Errors
    /// It does not run, or stands still already.
    pub async fn pause(&self) -> Result<(), Error> {
        self.errand(What::Pause, "paused").await?;
        self.publish("pause", []);
        Ok(())
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// It does not stand still.
    pub async fn unpause(&self) -> Result<(), Error> {
        self.errand(What::Unpause, "unpaused").await?;
        self.publish("unpause", []);
        Ok(())
    }

    /// Has its owner do something; how long it stood still for that.
    async fn errand(&self, what: What, verb: &'static str) -> Result<Duration, Error> {
        let stood_still = self.ask_errand(what, verb).await?;
        self.refresh();
        Ok(stood_still)
    }

    async fn ask_errand(&self, what: What, verb: &'static str) -> Result<Duration, Error> {
        self.check_running()?;
        let asked = control::ask(&self.runtime(), control::Ask::Errand(what)).await;
        asked.map_err(|error| Error::Refused {
            container: self.id.short().to_owned(),
            what: verb,
            why: error.to_string(),
        })
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
        let old = {
            let mut known = self.record.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut known.name, record.name)
        };
        self.publish("rename", [("oldName", format!("/{old}"))]);
        // Others in its networks find it by its name.
        if !self.networks().is_empty()
            && let Err(error) = self.rewire().await
        {
            tracing::warn!(container = %self.id, %error, "a container is not found by its new name");
        }
        Ok(())
    }

    /// Tells its terminal its size; one that was not started yet will have it then.
    ///
    /// # Errors
    /// It has ended.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = Some((rows, columns));
        if *self.hold.borrow() == Hold::Nobody {
            return match self.state().status {
                Status::Created => Ok(()),
                _ => Err(Error::NotRunning(self.id.to_string())),
            };
        }
        self.ask_resize(None, rows, columns).await?;
        let size = [("height", rows.to_string()), ("width", columns.to_string())];
        self.publish("resize", size);
        Ok(())
    }

    /// What it has written, and what it will.
    ///
    /// # Errors
    /// It keeps no log.
    pub fn logs(&self, wanted: LogsWanted) -> Result<Logs, Error> {
        if self.config().log.driver == crate::LogDriver::None {
            return Err(Error::NoLog);
        }
        let mut life = self.life.subscribe();
        let ended = async move {
            let over = |life: &Life| life.removed || !(life.is_running() || life.restarting);
            let _ = life.wait_for(over).await;
        };
        Ok(log::read(self.log_path(), wanted, ended))
    }

    /// Lets one stay that was to be removed at its end.
    pub(super) async fn outlive_its_end(&self) -> Result<(), Error> {
        let (shelf, id) = (self.shelf.clone(), self.id.clone());
        let change = move || shelf.change(&id, |record| record.config.auto_remove = false);
        let changed = tokio::task::spawn_blocking(change).await;
        let changed = changed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        changed.map_err(Error::io("write", self.path()))?;
        let mut known = self.record.write().unwrap_or_else(PoisonError::into_inner);
        known.config.auto_remove = false;
        Ok(())
    }

    /// A process to be run in it.
    ///
    /// # Errors
    /// It does not run.
    pub fn create_exec(self: &Arc<Self>, spec: ExecSpec) -> Result<Arc<Exec>, Error> {
        self.check_exec()?;
        let id = random_id().map_err(Error::io("read", "/dev/urandom"))?;
        let command = spec.argv.join(" ");
        let exec = self.know_exec(id.clone(), spec, ExecStatus::Created);
        self.publish(&format!("exec_create: {command}"), [("execID", id)]);
        exec.ok_or(Error::Interrupted)
    }

    fn know_exec(
        self: &Arc<Self>,
        id: String,
        spec: ExecSpec,
        status: ExecStatus,
    ) -> Option<Arc<Exec>> {
        let supervisor = self.supervisor.upgrade()?;
        let exec = Arc::new(Exec::new(id.clone(), Arc::clone(self), spec, status));
        supervisor.execs().insert(id, Arc::clone(&exec));
        Some(exec)
    }

    /// Whether a process can be run in it.
    pub(super) fn check_exec(&self) -> Result<(), Error> {
        match self.life.borrow().state.status {
            Status::Running => Ok(()),
            Status::Paused => Err(Error::Paused(self.name(), "exec")),
            _ => Err(Error::NotRunning(self.id.to_string())),
        }
    }

    pub(super) async fn ask_resize(
        &self,
        exec: Option<String>,
        rows: u16,
        columns: u16,
    ) -> Result<(), Error> {
        let ask = Ask::Resize {
            exec,
            rows,
            columns,
        };
        self.ask(&ask).await.map(drop)
    }

    pub(super) fn owner_error(&self, why: String) -> Error {
        Error::Owner {
            container: self.id.short().to_owned(),
            why,
        }
    }

    async fn ask(&self, ask: &Ask) -> Result<link::Answered, Error> {
        use crate::owner::wire::Answer;
        let asked = link::ask(&self.runtime(), ask).await;
        let answered = asked.map_err(|error| self.owner_error(error.to_string()))?;
        match &answered.answer {
            Answer::Failed(failed) => Err(self.owner_error(failed.message.clone())),
            _ => Ok(answered),
        }
    }
}
