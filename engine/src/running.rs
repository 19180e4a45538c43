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
use crate::prepare::{Prepared, Sockets, prepare};
use crate::programs::Programs;
use crate::session::{self, Client, Mounting, Opening, Process, Request, Session, SessionError};
use crate::suspended;
use crate::template::make::{MakeError, Making, Mounted, Subject};
use crate::template::{Keys, Kind, MachineInputs, Template, Templates};
use crate::timing::Timing;
use crate::vm::{Ended, Machine};

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
    let mut client = Some(Client {
        attached: attached.unwrap_or(unattached),
        requests,
        early,
        open_stdin: plan.record.config.open_stdin,
    });
    let mut origins = match plan.past.take() {
        Some(past) => vec![Origin::Past(past)],
        None => origins(&plan, &around),
    };
    loop {
        let origin = origins.pop().unwrap_or(Origin::Boot);
        let template = match &origin {
            Origin::Template(template) => Some(template.key.clone()),
            Origin::Past(_) | Origin::Boot => None,
        };
        let attempt = Attempt {
            plan: &plan,
            around: &around,
            sockets: Sockets::below(&around.shelf.runtime(&plan.record.id)),
            size,
        };
        match attempt.run(origin, &mut client, timing).await {
            Ok(None) => return Err((plan, Error::Interrupted)),
            Ok(Some((machine, session))) => {
                let sockets = attempt.sockets;
                return Ok(Running {
                    plan,
                    machine,
                    session,
                    sockets,
                    errands,
                });
            }
            Err(error) => match template.filter(|_| error.may_be_the_machine_s()) {
                Some(key) => {
                    tracing::warn!(key, %error, "a template did not come to life; it is removed");
                    if let Some(templates) = &around.templates {
                        templates.discard(&key);
                    }
                    attempt.clean_up();
                }
                None => return Err((plan, error)),
            },
        }
    }
}

/// Makes the templates of a container that are missing, without starting its process. Whether any were.
pub(crate) async fn build(
    plan: &Plan,
    around: &Surroundings<'_>,
    timing: &mut Timing,
) -> Result<bool, Error> {
    let origin = origins(plan, around).pop().unwrap_or(Origin::Boot);
    if matches!(&origin, Origin::Template(template) if template.kind == Kind::Image) {
        return Ok(false);
    }
    let attempt = Attempt {
        plan,
        around,
        sockets: Sockets::below(&around.shelf.runtime(&plan.record.id)),
        size: TtySize::default(),
    };
    attempt.run(origin, &mut None, timing).await?;
    Ok(true)
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

/// What a container can start from, the nearest last.
fn origins(plan: &Plan, around: &Surroundings<'_>) -> Vec<Origin> {
    let mut origins = vec![Origin::Boot];
    if let (Some(templates), Some(keys)) = (&around.templates, keys(plan, around)) {
        let nearest = templates.find(&keys.image);
        let found = nearest.or_else(|| templates.find(&keys.machine));
        origins.extend(found.map(Origin::Template));
    }
    origins
}

fn keys(plan: &Plan, around: &Surroundings<'_>) -> Option<Keys> {
    let inputs = MachineInputs {
        programs: around.programs,
        boot_args: &around.kernel.arguments,
        shape: plan.shape,
        layer: plan.layer,
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
    sockets: Sockets,
    size: TtySize,
}

impl Attempt<'_> {
    /// Starts the machine and, if it is to have a client, its process. Nothing runs when it fails, and whoever was to be the
    /// process's client still is.
    async fn run(
        &self,
        origin: Origin,
        client: &mut Option<Client>,
        timing: &mut Timing,
    ) -> Result<Option<(Machine, Session)>, Error> {
        let (saved, reach) = match origin {
            Origin::Boot => (None, Reach::Boot),
            Origin::Template(template) => (Some(template.saved), Reach::Template(template.kind)),
            Origin::Past(Past { saved, anothers }) => (Some(saved), Reach::Past { anothers }),
        };
        let Prepared { launch, agent } = prepare(self.plan, self.around, saved, &self.sockets)?;
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
        record(self.plan, &machine)?;
        timing.step("vmm spawn");
        let mut session = None;
        let talk = self.talk(agent, reach, client, &mut session, timing);
        let talked = self.watch(&machine, talk).await;
        match (talked, session) {
            (Ok(()), Some(session)) => {
                self.sockets.remove_agent();
                if let Some(broken) = broken {
                    broken.discard();
                }
                Ok(Some((machine, session)))
            }
            (Ok(()), None) => {
                machine.kill();
                machine.ended().await;
                Ok(None)
            }
            (talked, session) => {
                if let Some(session) = session {
                    *client = Some(session.into_client());
                }
                let error = talked.err().unwrap_or(Error::Interrupted);
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

    /// From a machine that comes up to a process in it, and to templates of what is on the way.
    async fn talk(
        &self,
        agent: Option<UnixListener>,
        reach: Reach,
        client: &mut Option<Client>,
        session: &mut Option<Session>,
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
                let mut adopt = self.plan.adopt()?;
                adopt.identity.take_if(|_| !anothers);
                (stream, Opening::Adopt(adopt), Process::Attach(start.stdio))
            }
            _ => {
                let (stream, is_configured) = self.make_templates(stream, reach, timing).await?;
                let opening = match is_configured {
                    true => Opening::Adopt(self.plan.adopt()?),
                    false => Opening::Configure(self.plan.configure()?),
                };
                (stream, opening, Process::Start(start))
            }
        };
        let Some(client) = client.take() else {
            return Ok(());
        };
        let opened = session.insert(Session::open(stream, opening, process, client)?);
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
        timing: &mut Timing,
    ) -> Result<(UnixStream, bool), Error> {
        let around = self.around;
        let keys = match reach {
            Reach::Template(Kind::Image) => return Ok((stream, true)),
            _ => around.templates.as_ref().zip(keys(self.plan, around)),
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
        let _ = fs::remove_file(self.plan.held.directory().disk());
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
        state.status = Status::Running;
        state.vmm = Some(machine.process());
        state.started = Some(Timestamp::now());
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
