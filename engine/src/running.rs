//! From a plan to a running process: the disk, the machine, the agent's answer.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hull_agent_protocol::TtySize;
use hull_vm_api::ExitCause;
use jiff::Timestamp;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::attachment;
use crate::container::{ContainerId, Shelf, Status};
use crate::errand::Errand;
use crate::error::{Error, sentence};
use crate::handle::Pending;
use crate::host::GuestKernel;
use crate::plan::{Past, Plan};
use crate::prepare::{Prepared, Saved, Sockets, prepare};
use crate::programs::Programs;
use crate::relay::{self, Relay};
use crate::session::{
    self, Client, Idle, Mounting, Opening, Process, Request, Session, SessionError,
};
use crate::share::{self, Opened, Share};
use crate::suspended;
use crate::template::make::{MakeError, Making, Mounted, Subject};
use crate::template::{Keys, Kind, MachineInputs, Template, Templates};
use crate::timing::{StartedFrom, Timing};
use crate::vm::{Ended, Machine};
use crate::volume::Volumes;

/// How long a machine may take until its process runs. Guest kernels are interpreted on some hosts,
/// where a boot under load takes a minute: this bounds a hang. A machine that dies is noticed at once.
const PATIENCE: Duration = Duration::from_secs(300);

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
        let from = match &origin {
            Origin::Boot => StartedFrom::Boot,
            Origin::Template(template) => match template.kind {
                Kind::Machine => StartedFrom::MachineTemplate,
                Kind::Image => StartedFrom::ImageTemplate,
            },
            Origin::Past(_) => StartedFrom::Snapshot,
        };
        let template = match &origin {
            Origin::Template(template) => Some(template.key.clone()),
            Origin::Past(_) | Origin::Boot => None,
        };
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
        let template = match &origin {
            Origin::Template(template) => Some(template.key.clone()),
            Origin::Past(_) | Origin::Boot => None,
        };
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

/// What a machine starts from.
#[derive(Debug)]
enum Origin {
    Boot,
    Template(Template),
    Past(Past),
}

/// How far a machine is when its agent can first be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It has booted.
    Boot,
    /// It is a clone of a template.
    Template(Kind),
    /// It has a process, frozen, which is another container's, or this one's.
    Past { anothers: bool },
}

/// The nearest thing that a container can start from, beside templates that have `failed`.
fn nearest(plan: &Plan, around: &Surroundings<'_>, shares: &[Share], failed: &[String]) -> Origin {
    let found = around
        .templates
        .as_ref()
        .zip(keys(plan, around, shares))
        .and_then(|(templates, keys)| {
            let find = |key: &String| templates.find(key).filter(|_| !failed.contains(key));
            // A guest that has an image mounted knows its disk as empty.
            let image = find(&keys.image).filter(|_| !plan.has_disk);
            image.or_else(|| find(&keys.machine))
        });
    found.map_or(Origin::Boot, Origin::Template)
}

/// Removes a template of which a machine did not come to life, unless that has nothing to do with it. Whether another origin may do better.
fn gives_up(
    around: &Surroundings<'_>,
    template: Option<String>,
    error: &Error,
    failed: &mut Vec<String>,
) -> bool {
    let Some(key) = template.filter(|_| error.may_be_the_machine_s()) else {
        return false;
    };
    tracing::warn!(key, %error, "a template did not come to life; it is removed");
    if let Some(templates) = &around.templates {
        templates.discard(&key);
    }
    failed.push(key);
    true
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

fn keys(plan: &Plan, around: &Surroundings<'_>, shares: &[Share]) -> Option<Keys> {
    let shares: Vec<bool> = shares.iter().map(|share| share.read_only).collect();
    let inputs = MachineInputs {
        programs: around.programs,
        boot_args: &around.kernel.arguments,
        shape: plan.shape,
        layer: plan.layer,
        shares: &shares,
        interfaces: plan.interfaces(),
    };
    let keys = Keys::of(inputs, plan.image.parts(), &plan.common());
    keys.inspect_err(|error| tracing::debug!(%error, "no template can be named"))
        .ok()
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

/// One attempt to start a container.
struct Attempt<'a> {
    plan: &'a Plan,
    around: &'a Surroundings<'a>,
    opened: &'a Opened,
    sockets: Sockets,
    size: TtySize,
}

impl Attempt<'_> {
    /// Starts the machine and, if it is to have a client, its process. Nothing runs when it fails, and whoever was to be the
    /// process's client still is.
    async fn run(
        &self,
        origin: Origin,
        purpose: &mut Purpose,
        timing: &mut Timing,
    ) -> Result<(Machine, Talk), Error> {
        let (saved, reach) = match origin {
            Origin::Boot => (None, Reach::Boot),
            Origin::Template(template) => (Some(template.saved), Reach::Template(template.kind)),
            Origin::Past(Past { saved, anothers }) => (Some(saved), Reach::Past { anothers }),
        };
        let copies = saved.as_ref().is_some_and(Saved::copies);
        let Prepared { launch, agent } = prepare(
            self.plan,
            self.around,
            &self.opened.shares,
            saved,
            &self.sockets,
        )?;
        timing.step("disk");
        let directory = self.plan.held.directory();
        let broken = match reach {
            Reach::Past { anothers: false } => {
                let broken = suspended::break_seal(directory);
                Some(broken.map_err(Error::io("use", directory.suspended()))?)
            }
            _ => None,
        };
        let machine = Machine::start(launch).await?;
        if !matches!(purpose, Purpose::Visit) {
            record(self.plan, &machine)?;
        }
        timing.step("vmm spawn");
        let mut talk = Talk::Nothing;
        let talking = self.talk(agent, reach, purpose, &mut talk, timing);
        let talked = self.watch(&machine, talking).await;
        match talked.and_then(|()| self.keep_copy(copies)) {
            Ok(()) => {
                self.sockets.remove_agent();
                if let Some(broken) = broken {
                    broken.discard();
                }
                Ok((machine, talk))
            }
            Err(error) => {
                if let Talk::Session(session) = talk {
                    *purpose = Purpose::Process(Some(session.into_client()));
                }
                let log = self.plan.held.directory().vmm_log();
                let error = explain(error, &machine, &log, self.around.programs).await;
                machine.kill();
                let ended = machine.ended().await;
                if let Some(broken) = broken.filter(|_| never_ran(&ended))
                    && let Err(error) = broken.mend()
                {
                    tracing::error!(%error, "a container cannot be resumed any more");
                }
                Err(error)
            }
        }
    }

    /// The disk that the machine came up on becomes the container's, if it is a copy. Until here the container had the disk that it has had,
    /// and if it is suspended, its machine.
    fn keep_copy(&self, copies: bool) -> Result<(), Error> {
        if !copies {
            return Ok(());
        }
        let directory = self.plan.held.directory();
        suspended::discard(directory)
            .and_then(|()| directory.take_next_disk())
            .map_err(Error::io("keep the disk of", directory.path()))
    }

    /// From a machine that comes up to a process in it, and to templates of what is on the way.
    async fn talk(
        &self,
        agent: Option<UnixListener>,
        reach: Reach,
        purpose: &mut Purpose,
        talk: &mut Talk,
        timing: &mut Timing,
    ) -> Result<(), Error> {
        let stream = match agent {
            Some(listener) => {
                let (stream, _) = listener.accept().await.map_err(SessionError::Lost)?;
                timing.step("boot");
                stream
            }
            None => {
                let stream = session::connect(&self.sockets.vsock).await?;
                timing.step("restore");
                stream
            }
        };
        let start = self.plan.start(self.size);
        // Composed as late as it can be: the clock in it is the guest's.
        let (stream, opening, process) = match reach {
            Reach::Past { anothers } => {
                let mut adopt = self.plan.go_on()?;
                // Its addresses may be others than before.
                let is_same = !anothers && self.plan.wired.is_empty();
                adopt.identity.take_if(|_| is_same);
                (stream, Opening::Adopt(adopt), Process::Attach(start.stdio))
            }
            _ => {
                let making = self.make_templates(stream, reach, purpose, timing);
                let (stream, is_configured) = making.await?;
                let opening = match is_configured {
                    true => Opening::Adopt(self.plan.adopt(self.opened)?),
                    false => Opening::Configure(self.plan.configure(self.opened)?),
                };
                (stream, opening, Process::Start(start))
            }
        };
        let client = match purpose {
            Purpose::Process(client) => client.take(),
            Purpose::Templates => None,
            Purpose::Visit => {
                *talk = Talk::Idle(session::idle(stream, opening).await?);
                timing.step("configure");
                return Ok(());
            }
        };
        let Some(client) = client else {
            return Ok(());
        };
        *talk = Talk::Session(Session::open(stream, opening, process, client)?);
        let Talk::Session(opened) = talk else {
            return Ok(());
        };
        let times = opened.started().await?;
        timing.step("configure and exec");
        if reach == Reach::Boot {
            timing.note("guest: kernel to agent", Duration::from_micros(times.main));
            timing.note("guest: agent to connected", micros(times.main, times.ready));
        }
        timing.note("guest: configure", micros(times.ready, times.configured));
        timing.note("guest: exec", micros(times.configured, times.started));
        Ok(())
    }

    /// Makes the templates that are missing of a machine that is no clone of the nearest one; then it goes on like a clone of it.
    /// Whether it is configured.
    async fn make_templates(
        &self,
        mut stream: UnixStream,
        reach: Reach,
        purpose: &Purpose,
        timing: &mut Timing,
    ) -> Result<(UnixStream, bool), Error> {
        let around = self.around;
        let keys = match reach {
            Reach::Template(Kind::Image) => return Ok((stream, true)),
            _ if self.plan.has_disk => return Ok((stream, false)),
            _ => around
                .templates
                .as_ref()
                .zip(keys(self.plan, around, &self.opened.shares)),
        };
        let Some((templates, keys)) = keys else {
            return Ok((stream, false));
        };
        let mut subject = Subject {
            key: keys.machine,
            shape: self.plan.shape,
            mounted: None,
        };
        if reach == Reach::Boot && !templates.has(&subject.key) {
            let Some(making) = begin(templates) else {
                return Ok((stream, false));
            };
            session::hold(stream, None).await?;
            self.make(making, subject.clone()).await?;
            stream = session::connect(&self.sockets.vsock).await?;
            timing.step("template of the machine");
        }
        if matches!(purpose, Purpose::Visit) {
            // Its container will have a disk then, and images between the steps of a build run nothing more.
            return Ok((stream, false));
        }
        let Some(making) = begin(templates) else {
            return Ok((stream, false));
        };
        let record = &self.plan.record;
        subject.key = keys.image;
        subject.mounted = Some(Mounted {
            image: record.image_id.clone(),
            reference: record.config.image.clone(),
            disk: self.plan.held.directory().disk(),
        });
        let mounting = Mounting {
            configure: self.plan.common(),
            programs: self.plan.programs(),
        };
        session::hold(stream, Some(mounting)).await?;
        self.make(making, subject).await?;
        stream = session::connect(&self.sockets.vsock).await?;
        timing.step("template of the image");
        Ok((stream, true))
    }

    /// Makes one template. That it cannot be made is no reason not to start.
    async fn make(&self, making: Making, subject: Subject) -> Result<(), Error> {
        let api = self.sockets.api.clone();
        let made = tokio::task::spawn_blocking(move || making.make(&api, &subject)).await;
        match made {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ MakeError::Resume(_))) => Err(Error::Template(error.into())),
            Ok(Err(error)) => {
                let error = sentence(&error);
                tracing::warn!(
                    error,
                    "no template was made; the next start will be as slow"
                );
                Ok(())
            }
            Err(error) => Err(Error::Template(error.into())),
        }
    }

    /// Waits for something that a machine does, unless it ends, or takes too long, or nobody wants it any more.
    async fn watch(
        &self,
        machine: &Machine,
        what: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let log = self.plan.held.directory().vmm_log();
        tokio::select! {
            biased;
            () = self.around.kill.cancelled() => Err(Error::Interrupted),
            done = what => done,
            ended = machine.ended() => Err(unbooted(&ended, &log, self.around.programs)),
            () = tokio::time::sleep(PATIENCE) => {
                Err(Error::Silent { after: PATIENCE, log: last_line(&log).unwrap_or_default() })
            }
        }
    }

    /// Takes away what was made for an attempt, for the next one.
    fn clean_up(&self) {
        self.sockets.remove();
        let _ = fs::remove_file(self.plan.held.directory().next_disk());
        if !self.plan.has_disk {
            let _ = fs::remove_file(self.plan.held.directory().disk());
        }
    }
}

fn begin(templates: &Templates) -> Option<Making> {
    let begun = Making::begin(templates);
    begun
        .inspect_err(|error| tracing::warn!(%error, "no template can be made; the next start will be as slow"))
        .ok()
}

fn micros(from: u64, to: u64) -> Duration {
    Duration::from_micros(to.saturating_sub(from))
}

/// Says in the container's state which process is its machine.
fn record(plan: &Plan, machine: &Machine) -> Result<(), Error> {
    let directory = plan.held.directory();
    let write = || {
        let mut state = directory.state()?;
        suspended::note(directory, plan.shape, plan.layer)?;
        state.runs(machine.process(), Timestamp::now());
        plan.held.write_state(&state)
    };
    write().map_err(Error::io("write the state in", directory.path()))
}

/// Whether a machine ended before its guest executed anything.
fn never_ran(ended: &Ended) -> bool {
    let status = ended.as_ref().as_ref().ok();
    let cause = status.and_then(|status| ExitCause::from_code(status.code()?));
    matches!(
        cause,
        Some(ExitCause::BadConfig | ExitCause::NoResource | ExitCause::NoKvm)
    )
}

/// A machine that dies closes its connections a moment before it is gone: then its end is the error.
async fn explain(error: Error, machine: &Machine, log: &Path, programs: &Programs) -> Error {
    let Error::Session(SessionError::Lost(_)) = error else {
        return error;
    };
    match tokio::time::timeout(Duration::from_secs(2), machine.ended()).await {
        Ok(ended) => unbooted(&ended, log, programs),
        Err(_) => error,
    }
}

/// The end of a machine that never came up. The VMM knows its files by descriptor only, so the
/// kernel's name is added here.
fn unbooted(ended: &Ended, log: &Path, programs: &Programs) -> Error {
    let mut text = epitaph(ended, log);
    let code = ended
        .as_ref()
        .as_ref()
        .ok()
        .and_then(|status| status.code());
    if code.and_then(ExitCause::from_code) == Some(ExitCause::BadKernel) {
        let (kernel, initramfs) = (programs.kernel.display(), programs.initramfs.display());
        text = format!("{text} (kernel: {kernel}, initramfs: {initramfs})");
    }
    Error::MachineEnded(text)
}

/// Why a machine ended, as far as one can see: its exit status and its last words.
pub(crate) fn epitaph(ended: &Ended, log: &Path) -> String {
    let status = match ended.as_ref() {
        Ok(status) => status,
        Err(error) => return format!("hull-vmm ended ({error})"),
    };
    let Some(cause) = status.code().and_then(ExitCause::from_code) else {
        // A signal, or a panic: what it logged before is another story.
        return format!("hull-vmm ended with {status}");
    };
    let cause = cause.to_string();
    match last_line(log) {
        Some(line) if line.contains(&cause) => line,
        Some(line) => format!("{cause}: {line}"),
        None => cause,
    }
}

/// The last line of a log that has anything in it, cut to what one can read at a glance.
fn last_line(log: &Path) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let tail = bytes.get(bytes.len().saturating_sub(16 * 1024)..)?;
    let text = String::from_utf8_lossy(tail);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let line = line.strip_prefix("hull-vmm: ").unwrap_or(line);
    Some(line.chars().filter(|c| !c.is_control()).take(500).collect())
}
