//! What a container's owner does to it while it runs, beside passing signals on: standing still, going on, and being saved.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_vm_api::Client;
use hull_vm_api::client::ClientError;
use hull_vm_api::config::HostPath;
use hull_vm_api::request::{SnapshotCreate, SnapshotType};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use crate::container::Status;
use crate::disk;
use crate::error::sentence;
use crate::plan;
use crate::running::Running;
use crate::session::inquiry::Inquiry;
use crate::session::{self, ProcessEnd, SessionError};
use crate::suspended;

/// How long a VMM may take to write a machine down. It is at the disk's speed, and disks are slow at times.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long an agent may take to answer a short question.
const ANSWER: Duration = Duration::from_secs(30);

/// The files of a machine that was saved.
pub(crate) const STATE: &str = "state";
pub(crate) const MEMORY: &str = "memory";
pub(crate) const DISK: &str = "disk";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// The vCPUs stand still.
    Pause,
    /// They go on.
    Unpause,
    /// The machine, its memory and its disk are copied into this directory, and it goes on.
    Save(PathBuf),
    /// The container's networks become those of its record.
    Rewire,
    /// The machine and its memory are written beside its disk, and it is gone.
    Suspend,
    /// It may use so much from now on.
    Limit(Resources),
}

/// What a container may use; nothing is as much as its machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resources {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Billionths of a CPU.
    pub(crate) nano_cpus: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
}

/// Who waits for it gets the time for which the container stood still, or why it was not done.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) what: What,
    pub(crate) done: Sender,
}

type Sender = oneshot::Sender<Result<Duration, String>>;

/// How an errand left the container.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It goes on.
    Runs,
    /// Its machine is in files.
    Suspended,
    /// Its process ended before it could stand still.
    Ended(ProcessEnd),
    /// Its machine does not go on.
    Lost(String),
}

/// Why a machine is not saved.
#[derive(Debug, Error)]
enum SaveError {
    #[error("its processes cannot be frozen")]
    Hold(#[source] SessionError),
    #[error("its machine was not saved")]
    Machine(#[source] ClientError),
    #[error("its disk was not copied to {path}")]
    Disk { path: PathBuf, source: io::Error },
    #[error("{path} is no UTF-8")]
    Path { path: PathBuf },
    #[error("the directory {path} cannot be written")]
    Directory { path: PathBuf, source: io::Error },
}

/// Does an errand, and says how it went to whoever waits.
pub(crate) async fn run(running: &mut Running, errand: Errand) -> Outcome {
    let Errand { what, done } = errand;
    let (said, outcome) = match what {
        What::Pause => (pause(running, true).await, Outcome::Runs),
        What::Unpause => (pause(running, false).await, Outcome::Runs),
        What::Save(directory) => return save(running, &directory, done).await,
        What::Rewire => (rewire(running).await, Outcome::Runs),
        What::Suspend => suspend(running).await,
        What::Limit(resources) => (limit(running, resources).await, Outcome::Runs),
    };
    let _ = done.send(said);
    outcome
}

async fn pause(running: &Running, still: bool) -> Result<Duration, String> {
    let id = running.plan.record.id.short();
    match (running.paused(), still) {
        (true, true) => return Err(format!("Container {id} is already paused")),
        (false, false) => return Err(format!("Container {id} is not paused")),
        _ => {}
    }
    call(&running.sockets.api, move |client| match still {
        true => client.pause(),
        false => client.resume(),
    })
    .await
    .map_err(|error| sentence(&error))?;
    let status = if still {
        Status::Paused
    } else {
        Status::Running
    };
    let written = running.write_status(status);
    written.map_err(|error| format!("the state of container {id} was not written: {error}"))?;
    Ok(Duration::ZERO)
}

/// Gives the container other limits, as far as its machine is large enough for them.
async fn limit(running: &mut Running, resources: Resources) -> Result<Duration, String> {
    if running.paused() {
        return Err("it is paused: unpause it first".to_owned());
    }
    let shape = running
        .plan
        .shape
        .limited(resources.memory, resources.nano_cpus);
    let shape = shape.map_err(|error| error.to_string())?;
    let mut config = running.plan.record.config.clone();
    config.pids = resources.pids;
    let ask = async {
        let mut inquiry = Inquiry::connect(&running.sockets.vsock).await?;
        inquiry.set_limits(plan::limits(shape, &config)).await
    };
    match tokio::time::timeout(ANSWER, ask).await {
        Ok(done) => done.map_err(|error| sentence(&error))?,
        Err(_) => return Err("its agent does not answer".to_owned()),
    }
    let plan = &mut running.plan;
    (plan.shape, plan.record.config) = (shape, config);
    let noted = suspended::note(plan.held.directory(), plan.shape, plan.layer);
    noted.map_err(|error| format!("its limits were not written down: {error}"))?;
    Ok(Duration::ZERO)
}

/// On the host first: from a network that it is to leave it is gone, whatever its guest does.
async fn rewire(running: &mut Running) -> Result<Duration, String> {
    let id = running.plan.record.id.short();
    if running.paused() {
        return Err(format!(
            "Container {id} is paused, unpause the container before its networks are changed"
        ));
    }
    let directory = running.plan.held.directory().clone();
    let record = directory.record();
    let record =
        record.map_err(|error| format!("the record of container {id} cannot be read: {error}"))?;
    running.plan.record = record.clone();
    let mut wired = std::mem::take(&mut running.plan.wired);
    let rewired = tokio::task::spawn_blocking(move || {
        let rewired = wired.rewire(&record, directory.path());
        (wired, rewired)
    });
    let (wired, rewired) = rewired.await.map_err(|error| error.to_string())?;
    running.plan.wired = wired;
    let told = tell(running).await;
    rewired.map_err(|error| sentence(&error))?;
    told.map_err(|error| sentence(&error))?;
    Ok(Duration::ZERO)
}

/// Tells the agent what networks the container is in.
async fn tell(running: &Running) -> Result<(), SessionError> {
    let network = running.plan.network();
    let exchange = async {
        let mut inquiry = Inquiry::connect(&running.sockets.vsock).await?;
        inquiry.set_network(network).await
    };
    match tokio::time::timeout(ANSWER, exchange).await {
        Ok(told) => told,
        Err(_) => Err(SessionError::Lost(io::ErrorKind::TimedOut.into())),
    }
}

/// Asks the machine's VMM for something.
async fn call<T: Send + 'static>(
    api: &Path,
    ask: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    let client = Client::new(api).with_time(PATIENCE);
    let asked = tokio::task::spawn_blocking(move || ask(&client)).await;
    asked.unwrap_or_else(|error| Err(ClientError::Protocol(error.to_string())))
}

/// Freezes the processes; the end of the first of them, if that came before.
async fn hold(running: &mut Running) -> Result<Option<ProcessEnd>, SaveError> {
    let was_paused = running.paused();
    let api = running.sockets.api.clone();
    if was_paused {
        // The guest freezes them itself.
        let resumed = call(&api, Client::resume).await;
        resumed.map_err(SaveError::Machine)?;
    }
    let held = running.session.hold().await;
    if was_paused && held.is_err() {
        // As it was; if it cannot be, its agent does not answer either, which is the better story.
        let _ = call(&api, Client::pause).await;
    }
    held.map_err(SaveError::Hold)
}

/// Saves the machine, which goes on as soon as there is a copy of it; what is left to write is written meanwhile.
async fn save(running: &mut Running, directory: &Path, done: Sender) -> Outcome {
    let was_paused = running.paused();
    let began = Instant::now();
    match hold(running).await {
        Ok(None) => {}
        Ok(Some(end)) => {
            let _ = done.send(Err("the container has just ended".to_owned()));
            return Outcome::Ended(end);
        }
        Err(error) => {
            let _ = done.send(Err(sentence(&error)));
            return held_back(&error);
        }
    }
    let mut saving = match copy(running, directory).await {
        Ok(create) => {
            let create = SnapshotCreate {
                resume_vm: true,
                ..create
            };
            spawn(running, move |client| {
                client.create_snapshot(&create).map_err(SaveError::Machine)
            })
        }
        Err(error) => spawn(running, |_| Err(error)),
    };
    // It answers as soon as it runs, which is long before all is written, or when it was made to because nothing could be.
    let api = running.sockets.api.clone();
    let attached = attach(running);
    tokio::pin!(attached);
    let mut saved = None;
    let attached = loop {
        tokio::select! {
            attached = &mut attached => break attached,
            outcome = &mut saving, if saved.is_none() => {
                let outcome = joined(outcome);
                if outcome.is_err() {
                    let _ = call(&api, Client::resume).await;
                }
                saved = Some(outcome);
            }
        }
    };
    let stood_still = began.elapsed();
    if let Err(error) = attached {
        let why = sentence(&error);
        let _ = done.send(Err(why.clone()));
        return Outcome::Lost(why);
    }
    if was_paused && let Err(error) = call(&api, Client::pause).await {
        tracing::warn!(%error, "a container that was paused goes on");
    }
    tokio::spawn(async move {
        let saved = match saved {
            Some(saved) => saved,
            None => joined(saving.await),
        };
        let said = saved.map(|()| stood_still);
        let _ = done.send(said.map_err(|error| sentence(&error)));
    });
    Outcome::Runs
}

/// Has the machine stand still, and copies its disk.
async fn copy(running: &Running, directory: &Path) -> Result<SnapshotCreate, SaveError> {
    let create = create(directory)?;
    let (own, to) = (running.plan.held.directory().disk(), directory.join(DISK));
    let copied = spawn(running, move |client| {
        // Nothing of what its guest wrote is on its way any more.
        client.pause_and_settle().map_err(SaveError::Machine)?;
        disk::copy(&own, &to).map_err(|source| SaveError::Disk { path: to, source })
    });
    joined(copied.await)?;
    Ok(create)
}

/// Has something done that blocks, with the machine's VMM.
fn spawn(
    running: &Running,
    what: impl FnOnce(&Client) -> Result<(), SaveError> + Send + 'static,
) -> JoinHandle<Result<(), SaveError>> {
    let client = Client::new(&running.sockets.api).with_time(PATIENCE);
    tokio::task::spawn_blocking(move || what(&client))
}

fn joined(outcome: Result<Result<(), SaveError>, JoinError>) -> Result<(), SaveError> {
    let broken = |error: JoinError| SaveError::Machine(ClientError::Protocol(error.to_string()));
    outcome.unwrap_or_else(|error| Err(broken(error)))
}

/// Goes on with the frozen processes of a machine that runs, or is about to.
async fn attach(running: &mut Running) -> Result<(), SessionError> {
    let stream = session::connect(&running.sockets.vsock).await?;
    running.session.attach(stream).await
}

/// A container whose processes were not frozen goes on; if its agent does not answer any more it does not.
fn held_back(error: &SaveError) -> Outcome {
    match error {
        SaveError::Hold(SessionError::Refused(_)) | SaveError::Machine(_) => Outcome::Runs,
        error => Outcome::Lost(sentence(error)),
    }
}

fn create(directory: &Path) -> Result<SnapshotCreate, SaveError> {
    let path = |name| {
        let path = directory.join(name);
        HostPath::try_from(path.as_path()).map_err(|_| SaveError::Path { path })
    };
    Ok(SnapshotCreate {
        snapshot_type: SnapshotType::Full,
        resume_vm: false,
        snapshot_path: path(STATE)?,
        mem_file_path: path(MEMORY)?,
    })
}

/// Lets the processes of a machine go on that is at rest.
async fn go_on(running: &mut Running, pause: bool) -> Result<(), String> {
    let api = running.sockets.api.clone();
    let resumed = call(&api, Client::resume).await;
    resumed.map_err(|error| sentence(&error))?;
    attach(running).await.map_err(|error| sentence(&error))?;
    if pause {
        let paused = call(&api, Client::pause).await;
        paused.map_err(|error| sentence(&error))?;
    }
    Ok(())
}

async fn suspend(running: &mut Running) -> (Result<Duration, String>, Outcome) {
    let was_paused = running.paused();
    let began = Instant::now();
    match hold(running).await {
        Ok(None) => {}
        Ok(Some(end)) => {
            return (
                Err("the container has just ended".into()),
                Outcome::Ended(end),
            );
        }
        Err(error) => return (Err(sentence(&error)), held_back(&error)),
    }
    let directory = running.plan.held.directory().suspended();
    let saved = async {
        let made = fs::create_dir_all(&directory);
        made.map_err(|source| SaveError::Directory {
            path: directory.clone(),
            source,
        })?;
        let create = create(&directory)?;
        let ask = move |client: &Client| {
            client.pause()?;
            client.create_snapshot(&create)
        };
        call(&running.sockets.api, ask)
            .await
            .map_err(SaveError::Machine)
    };
    let saved = saved.await.and_then(|()| {
        let sealed = suspended::seal(running.plan.held.directory());
        sealed.map_err(|source| SaveError::Directory {
            path: directory.clone(),
            source,
        })
    });
    let Err(error) = saved else {
        // What the guest has not written back yet is in its memory.
        running.machine.kill();
        running.machine.ended().await;
        return (Ok(began.elapsed()), Outcome::Suspended);
    };
    let _ = fs::remove_dir_all(&directory);
    let outcome = match go_on(running, was_paused).await {
        Ok(()) => Outcome::Runs,
        Err(why) => Outcome::Lost(why),
    };
    (Err(sentence(&error)), outcome)
}
