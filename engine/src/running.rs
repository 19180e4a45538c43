//! From a plan to a running process: the disk, the machine, the agent's answer.

mod attempt;
mod epitaph;
mod origin;
mod templates;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hull_agent_protocol::TtySize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::attachment;
use crate::container::{ContainerId, Shelf, Status};
use crate::errand::Errand;
use crate::error::Error;
use crate::handle::Pending;
use crate::host::GuestKernel;
use crate::plan::Plan;
use crate::prepare::Sockets;
use crate::programs::Programs;
use crate::relay::{self, Relay};
use crate::session::{Client, Idle, Request, Session};
use crate::share::{self, Opened};
use crate::template::{Kind, Templates};
use crate::timing::Timing;
use crate::vm::Machine;
use crate::volume::Volumes;
use attempt::Attempt;
pub(crate) use epitaph::epitaph;
use origin::{Origin, gives_up, nearest};

/// A container whose process runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) plan: Plan,
    pub(crate) machine: Machine,
    pub(crate) session: Session,
    pub(crate) sockets: Sockets,
    pub(crate) errands: UnboundedReceiver<Errand>,
    /// Its guest reaches sockets of the host as long as these are there.
    pub(crate) relays: Vec<Relay>,
}

impl Running {
    /// Whether its vCPUs stand still because somebody wants that.
    pub(crate) fn paused(&self) -> bool {
        let state = self.plan.held.directory().state();
        state.is_ok_and(|state| state.status == Status::Paused)
    }

    pub(crate) fn write_status(&self, status: Status) -> io::Result<()> {
        let mut state = self.plan.held.directory().state()?;
        state.status = status;
        self.plan.held.write_state(&state)
    }
}

/// What every start needs beside its plan.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) shelf: &'a Shelf,
    /// Where empty writable layers are.
    pub(crate) layers: PathBuf,
    pub(crate) volumes: Volumes,
    /// What may be cloned, and made to be; nothing where a boot is asked for.
    pub(crate) templates: Option<Templates>,
    pub(crate) programs: &'a Programs,
    pub(crate) kernel: &'a GuestKernel,
    pub(crate) kill: &'a CancellationToken,
}

/// Starts a container's machine and its process, from the nearest template that works. Gives the plan back when it fails, with nothing
/// left running.
pub(crate) async fn start(
    pending: Pending,
    around: Surroundings<'_>,
    timing: &mut Timing,
) -> Result<Running, (Plan, Error)> {
    let Pending {
        mut plan,
        attached,
        mut requests,
        errands,
    } = pending;
    let (_, unattached) = attachment::pair();
    let (size, early) = before_start(&mut requests);
    let mut purpose = Purpose::Process(Some(Client {
        attached: attached.unwrap_or(unattached),
        requests,
        early,
        open_stdin: plan.record.config.open_stdin,
    }));
    let opened = match open_mounts(&plan, &around).await {
        Ok(opened) => opened,
        Err(error) => return Err((plan, error)),
    };
    let runtime = around.shelf.runtime(&plan.record.id);
    let relays = match relay::listen(&runtime, &opened.sockets) {
        Ok(relays) => relays,
        Err(error) => return Err((plan, error)),
    };
    let (mut past, mut failed) = (plan.past.take(), Vec::new());
    loop {
        let origin = match past.take() {
            Some(past) => Origin::Past(past),
            None => nearest(&plan, &around, &opened.shares, &failed),
        };
        let (from, template) = (origin.kind(), origin.template());
        let attempt = Attempt {
            plan: &plan,
            around: &around,
            opened: &opened,
            sockets: Sockets::below(&runtime),
            size,
        };
        match attempt.run(origin, &mut purpose, timing).await {
            Ok((machine, Talk::Nothing | Talk::Idle(_))) => {
                machine.kill();
                machine.ended().await;
                return Err((plan, Error::Interrupted));
            }
            Ok((machine, Talk::Session(session))) => {
                timing.came_from(from);
                let sockets = attempt.sockets;
                return Ok(Running {
                    plan,
                    machine,
                    session,
                    sockets,
                    errands,
                    relays,
                });
            }
            Err(error) => match gives_up(&around, template, &error, &mut failed) {
                true => attempt.clean_up(),
                false => return Err((plan, error)),
            },
        }
    }
}

/// Starts a container's machine without its process. Nothing is left running when it fails, and no disk that was not there before.
/// Sockets of the host are in its files, but nobody is there who would connect to them, and they lead nowhere.
pub(crate) async fn visit(
    plan: &Plan,
    around: &Surroundings<'_>,
    timing: &mut Timing,
) -> Result<(Machine, Idle), Error> {
    let opened = open_mounts(plan, around).await?;
    let mut failed = Vec::new();
    loop {
        let origin = nearest(plan, around, &opened.shares, &failed);
        let template = origin.template();
        let attempt = Attempt {
            plan,
            around,
            opened: &opened,
            sockets: Sockets::below(&around.shelf.runtime(&plan.record.id)),
            size: TtySize::default(),
        };
        let error = match attempt.run(origin, &mut Purpose::Visit, timing).await {
            Ok((machine, Talk::Idle(idle))) => return Ok((machine, idle)),
            Ok((machine, _)) => {
                machine.kill();
                machine.ended().await;
                return Err(Error::Interrupted);
            }
            Err(error) => error,
        };
        attempt.clean_up();
        if !gives_up(around, template, &error, &mut failed) {
            return Err(error);
        }
    }
}

/// Makes the templates of a container that are missing, without starting its process. Whether any were.
pub(crate) async fn build(
    plan: &Plan,
    around: &Surroundings<'_>,
    timing: &mut Timing,
) -> Result<bool, Error> {
    let origin = nearest(plan, around, &[], &[]);
    if matches!(&origin, Origin::Template(template) if template.kind == Kind::Image) {
        return Ok(false);
    }
    let attempt = Attempt {
        plan,
        around,
        opened: &Opened::default(),
        sockets: Sockets::below(&around.shelf.runtime(&plan.record.id)),
        size: TtySize::default(),
    };
    let (machine, _) = attempt.run(origin, &mut Purpose::Templates, timing).await?;
    machine.kill();
    machine.ended().await;
    Ok(true)
}

/// What a machine is started for.
#[derive(Debug)]
enum Purpose {
    /// The container's process, and who is to be its client.
    Process(Option<Client>),
    /// The container's files.
    Visit,
    /// The templates that are made on the way.
    Templates,
}

/// Who talks to the agent of a machine that has started.
#[derive(Debug)]
enum Talk {
    Nothing,
    Session(Session),
    Idle(Idle),
}

/// Opens what the container mounts of the host, which may have to be filled by somebody else first.
async fn open_mounts(plan: &Plan, around: &Surroundings<'_>) -> Result<Opened, Error> {
    let (volumes, mounts) = (around.volumes.clone(), plan.record.config.mounts.clone());
    if mounts.is_empty() {
        return Ok(Opened::default());
    }
    // Processes that go on take their volumes for filled.
    let fills = plan.past.is_none();
    let opened = tokio::task::spawn_blocking(move || share::open(&volumes, &mounts, fills));
    tokio::select! {
        () = around.kill.cancelled() => Err(Error::Interrupted),
        opened = opened => opened.unwrap_or(Err(Error::Interrupted)),
    }
}

/// What came before there is anybody to pass it on to: the terminal's last size, and signals, which the process
/// gets as soon as it runs.
fn before_start(requests: &mut UnboundedReceiver<Request>) -> (TtySize, Vec<u8>) {
    let (mut size, mut signals) = (TtySize::default(), Vec::new());
    while let Ok(request) = requests.try_recv() {
        match request {
            Request::Resize(new) => size = new,
            Request::Signal(signal) => signals.push(signal),
        }
    }
    (size, signals)
}

/// Makes the directory of a container's runtime files.
pub(crate) fn make_runtime(shelf: &Shelf, id: &ContainerId) -> Result<PathBuf, Error> {
    let runtime = shelf.runtime(id);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&runtime)
        .map_err(Error::io("make", &runtime))?;
    Ok(runtime)
}

/// Why there is no socket `name` in a runtime directory.
pub(crate) fn unbound(runtime: &Path, name: &str) -> impl FnOnce(io::Error) -> Error {
    let (runtime, socket) = (runtime.to_owned(), runtime.join(name));
    move |source| match source.kind() {
        io::ErrorKind::InvalidInput => Error::LongRuntime(runtime),
        _ => Error::io("make the socket", socket)(source),
    }
}
