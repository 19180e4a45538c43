//! From a plan to a running process: the disk, the machine, the agent's answer.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hull_agent_protocol::{PORT, TtySize};
use hull_vm_api::ExitCause;
use hull_vm_api::config::HostPath;
use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::attachment;
use crate::container::{ContainerId, Shelf, Status};
use crate::handle::Pending;
use crate::host::GuestKernel;
use crate::plan::Plan;
use crate::programs::Programs;
use crate::session::{Client, Request, Session, SessionError};
use crate::timing::Timing;
use crate::vm::{Disks, Ended, Launch, Machine, MachineSpec, configuration};
use crate::{Error, disk};

/// How long a machine may take until its process runs. Guest kernels are interpreted on some hosts,
/// where a boot under load takes a minute: this bounds a hang. A machine that dies is noticed at once.
const PATIENCE: Duration = Duration::from_secs(300);

/// Names a file that what guests' kernels say is appended to, for those who work on the guest.
const KERNEL_LOG: &str = "HULL_KERNEL_LOG";

/// A container whose process runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) plan: Plan,
    pub(crate) machine: Machine,
    pub(crate) session: Session,
}

/// What every start needs beside its plan.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) shelf: &'a Shelf,
    pub(crate) templates: PathBuf,
    pub(crate) programs: &'a Programs,
    pub(crate) kernel: &'a GuestKernel,
    pub(crate) kill: &'a CancellationToken,
}

/// Starts a container's machine and its process. Gives the plan back when it fails, with nothing
/// left running.
pub(crate) async fn start(
    pending: Pending,
    around: Surroundings<'_>,
    timing: &mut Timing,
) -> Result<Running, (Plan, Error)> {
    let Pending {
        plan,
        attached,
        mut requests,
    } = pending;
    let (_, unattached) = attachment::pair();
    let attached = attached.unwrap_or(unattached);
    let open_stdin = plan.record.config.open_stdin;
    let (size, early) = before_start(&mut requests);
    let client = Client {
        attached,
        requests,
        early,
        open_stdin,
    };
    match boot(&plan, &around, client, size, timing).await {
        Ok((machine, session)) => Ok(Running {
            plan,
            machine,
            session,
        }),
        Err(error) => Err((plan, error)),
    }
}

/// What came before there is anybody to pass it on to: the terminal's last size, and signals, which the process
/// gets as soon as it runs.
fn before_start(
    requests: &mut tokio::sync::mpsc::UnboundedReceiver<Request>,
) -> (TtySize, Vec<u8>) {
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

async fn boot(
    plan: &Plan,
    around: &Surroundings<'_>,
    client: Client,
    size: TtySize,
    timing: &mut Timing,
) -> Result<(Machine, Session), Error> {
    let runtime = around.shelf.runtime(&plan.record.id);
    let prepared = prepare(plan, around, &runtime)?;
    timing.step("disk");
    let machine = Machine::start(prepared.launch).await?;
    record(plan, &machine)?;
    timing.step("vmm spawn");

    let talk = async {
        let (stream, _) = prepared
            .listener
            .accept()
            .await
            .map_err(SessionError::Lost)?;
        timing.step("boot");
        // Composed only now: the clock in it is the guest's.
        let configure = plan.configure()?;
        let mut session = Session::open(stream, configure, plan.start(size), client)?;
        let times = session.started().await?;
        timing.step("configure and exec");
        timing.note("guest: kernel to agent", Duration::from_micros(times.main));
        timing.note("guest: agent to connected", micros(times.main, times.ready));
        timing.note("guest: configure", micros(times.ready, times.configured));
        timing.note("guest: exec", micros(times.configured, times.started));
        Ok::<_, Error>(session)
    };
    let log = plan.held.directory().vmm_log();
    let session = tokio::select! {
        biased;
        () = around.kill.cancelled() => Err(Error::Interrupted),
        session = talk => session,
        ended = machine.ended() => Err(unbooted(&ended, &log, around.programs)),
        () = tokio::time::sleep(PATIENCE) => {
            Err(Error::Silent { after: PATIENCE, log: last_line(&log).unwrap_or_default() })
        }
    };
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            let error = explain(error, &machine, &log, around.programs).await;
            machine.kill();
            machine.ended().await;
            return Err(error);
        }
    };
    // One connection was all it was for; what is left of the directory is the machine's own socket.
    let _ = fs::remove_file(prepared.listens_at);
    Ok((machine, session))
}

fn micros(from: u64, to: u64) -> Duration {
    Duration::from_micros(to.saturating_sub(from))
}

/// Files and sockets for one machine.
struct Prepared<'a> {
    launch: Launch<'a>,
    listener: UnixListener,
    listens_at: PathBuf,
}

fn prepare<'a>(
    plan: &Plan,
    around: &Surroundings<'a>,
    runtime: &Path,
) -> Result<Prepared<'a>, Error> {
    let directory = plan.held.directory();
    disk::make(&around.templates, plan.layer, &directory.disk())?;
    let name = format!("v_{PORT}");
    let listens_at = runtime.join(&name);
    let listener = UnixListener::bind(&listens_at).map_err(unbound(runtime, &name))?;
    let vsock = HostPath::try_from(runtime.join("v").as_path())
        .map_err(|_| Error::LongRuntime(runtime.to_owned()))?;
    let disks = Disks {
        image: plan.image.parts(),
        writable: &directory.disk(),
        kept: !plan.record.config.auto_remove,
    };
    let machine = MachineSpec {
        shape: plan.shape,
        boot_args: &around.kernel.arguments,
        vsock,
        kernel_log: std::env::var(KERNEL_LOG).ok().map(HostPath::from),
    };
    let (config, descriptors) = configuration(around.programs, machine, disks)?;
    let path = directory.vmm_config();
    let written = serde_json::to_vec_pretty(&config).map_err(io::Error::from);
    written
        .and_then(|json| fs::write(&path, json))
        .map_err(Error::io("write", &path))?;
    let log = directory.vmm_log();
    let log = File::create(&log).map_err(Error::io("make", &log))?;
    let metrics = directory.metrics();
    let arguments = [
        "--config-file",
        &path.to_string_lossy(),
        "--no-api",
        "--metrics-path",
        &metrics.to_string_lossy(),
        "--id",
        plan.record.id.short(),
    ];
    Ok(Prepared {
        launch: Launch {
            program: &around.programs.vmm,
            arguments: arguments.map(str::to_owned).to_vec(),
            descriptors,
            log,
            runtime: around.shelf.run(),
        },
        listener,
        listens_at,
    })
}

/// Says in the container's state which process is its machine.
fn record(plan: &Plan, machine: &Machine) -> Result<(), Error> {
    let directory = plan.held.directory();
    let write = || {
        let mut state = directory.state()?;
        state.status = Status::Running;
        state.vmm = Some(machine.process());
        state.started = Some(Timestamp::now());
        plan.held.write_state(&state)
    };
    write().map_err(Error::io("write the state in", directory.path()))
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
