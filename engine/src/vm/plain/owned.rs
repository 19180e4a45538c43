//! The owner of a plain microVM: the process that holds its lock, starts its `hull-vmm`, and writes down how that ended.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use hull_vm_api::{Client, ExitCause};
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::sync::mpsc;

use super::console::{Relay, Terminal};
use super::saved::{self, Past};
use super::shelf::{KILLED, Shelf, VmRecord, VmState, VmStatus};
use super::spec::ConsoleEnds;
use super::wire::Wired;
use super::{ScreenSize, VmError, VmName};
use crate::container::{Held, write_json};
use crate::network::Networks;
use crate::running::epitaph;
use crate::vm::machine::{Ended, Launch, Machine};
use crate::{Error, doctor, find_vmm};

/// How long a VMM may take from its first instruction to its guest's.
const START: Duration = Duration::from_secs(60);
/// `sun_path` has 108 bytes, the last of them zero.
const LONGEST_SOCKET: usize = 107;
/// Exit status of what fails before the guest runs, as Docker has it.
const FAILED: u8 = 125;

/// What its owner can ask of a machine that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To power off; the second time it is ended at once.
    PowerOff,
    /// To end at once.
    End,
}

/// A terminal in the foreground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// How large it is, if it is a terminal and not just a pipe.
    pub size: Option<ScreenSize>,
}

/// How a microVM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmEnd {
    /// 0 for a guest that powered off, 16 for a reboot, 17 for a panic and so on ([`ExitCause`]); 125 for a failure of the VMM
    /// or of the host; 128 and the signal's number for a VMM that was killed.
    pub code: u8,
    /// The same in words.
    pub reason: String,
    /// It is in files, and can go on.
    pub suspended: bool,
}

/// What a machine that runs has in its owner.
type Booted = (Machine, Relay, Option<Terminal>);

/// A microVM whose lock this process holds.
#[derive(Debug)]
pub struct Owned {
    shelf: Shelf,
    held: Held,
    record: VmRecord,
    /// What it goes on from, in place of booting.
    past: Option<Past>,
}

/// A microVM that this process runs.
#[derive(Debug)]
pub struct Running {
    owned: Owned,
    machine: Machine,
    relay: Relay,
    wired: Wired,
}

impl Owned {
    pub(crate) fn new(shelf: Shelf, held: Held, record: VmRecord, past: Option<Past>) -> Self {
        Self {
            shelf,
            held,
            record,
            past,
        }
    }

    /// The same, which boots: what it would go on from is forgotten.
    ///
    /// # Errors
    /// What the host says.
    pub fn cold(self) -> Result<Self, VmError> {
        saved::discard(self.held.directory())?;
        Ok(Self { past: None, ..self })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &VmName {
        &self.record.name
    }

    /// Starts the machine; returns when its vCPUs run. With a screen there is a terminal, which must be read.
    ///
    /// # Errors
    /// Why it does not run; that is written down, too, or the microVM is removed if it was to be.
    pub async fn start(
        self,
        screen: Option<Screen>,
    ) -> Result<(Running, Option<Terminal>), VmError> {
        match self.boot_wired(screen).await {
            Ok(((machine, relay, terminal), wired)) => {
                let running = Running {
                    owned: self,
                    machine,
                    relay,
                    wired,
                };
                Ok((running, terminal))
            }
            Err(error) => {
                let end = VmEnd {
                    code: FAILED,
                    reason: error.to_string(),
                    suspended: false,
                };
                let past = self.past_now();
                self.settle(&end, past.as_ref());
                Err(error)
            }
        }
    }

    /// Attaches the network first, and undoes that if the machine does not run.
    async fn boot_wired(&self, screen: Option<Screen>) -> Result<(Booted, Wired), VmError> {
        let mut wired = self.wire().await?;
        match self.boot(screen, &mut wired).await {
            Ok(booted) => Ok((booted, wired)),
            Err(error) => {
                detach(wired).await;
                Err(error)
            }
        }
    }

    async fn wire(&self) -> Result<Wired, VmError> {
        let mut spec = self.record.spec.clone();
        if let Some(past) = &self.past {
            spec.networks.clone_from(&past.networks);
        }
        if spec.networks.is_empty() {
            return Ok(Wired::default());
        }
        let directory = self.shelf.paths().networks();
        let attach = move || Wired::attach(&spec, &Networks::open(directory)?);
        match tokio::task::spawn_blocking(attach).await {
            Ok(wired) => wired,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn boot(&self, screen: Option<Screen>, wired: &mut Wired) -> Result<Booted, VmError> {
        let (shelf, name) = (&self.shelf, &self.record.name);
        let vmm = find_vmm().map_err(Error::from)?;
        let api = self.make_sockets()?;
        let directory = self.held.directory();
        let console = shelf.console_socket(name);
        let relay = Relay::start(directory.path(), &console, screen);
        let (relay, ends, terminal) = relay.map_err(Error::io("make the console at", &console))?;
        let size = ends.size;
        let (source, mut descriptors) = self.source(&vmm, ends, wired).await?;
        descriptors.append(&mut wired.descriptors);
        let file = directory.vmm_config();
        let log = directory.vmm_log();
        let log = File::create(&log).map_err(Error::io("make", &log))?;
        descriptors.push(("api".to_owned(), api));

        let machine = Machine::start(Launch {
            priority: None,
            program: &vmm,
            arguments: vec![
                "--api-sock".to_owned(),
                "fd:api".to_owned(),
                source.to_owned(),
                file.to_string_lossy().into_owned(),
                "--id".to_owned(),
                name.as_id(),
            ],
            descriptors,
            log,
            runtime: shelf.paths().run(),
        });
        let machine = machine.await.map_err(Error::from)?;
        shelf.write_state(
            name,
            &VmState {
                status: VmStatus::Running,
                vmm: Some(machine.process()),
                networks: wired.shown.clone(),
                started: Some(Timestamp::now()),
                ..VmState::CREATED
            },
        )?;
        let running = match self.until_it_answers(&machine).await {
            Ok(()) => self.go_on(size).await,
            answered => answered,
        };
        match running {
            Ok(()) => Ok((machine, relay, terminal)),
            Err(error) => {
                machine.kill();
                machine.ended().await;
                Err(error)
            }
        }
    }

    /// Writes down what its VMM is to make: how that is named on its command line, and the descriptors that it names, but for those of
    /// the network.
    async fn source(
        &self,
        vmm: &Path,
        ends: ConsoleEnds,
        wired: &Wired,
    ) -> Result<(&'static str, Vec<(String, OwnedFd)>), VmError> {
        let file = self.held.directory().vmm_config();
        let spec = &self.record.spec;
        if let Some(past) = &self.past {
            let (load, descriptors) = past.load(&self.record.name, spec, ends)?;
            write_json(&file, &load).map_err(Error::io("write", &file))?;
            return Ok(("--load-file", descriptors));
        }
        let profile = doctor::load_or_probe(vmm, self.shelf.paths().root()).await;
        let profile = profile.map_err(Error::from)?;
        let interfaces = wired.interfaces.clone();
        let (config, descriptors) = spec.configuration(&profile, ends, interfaces)?;
        write_json(&file, &config).map_err(Error::io("write", &file))?;
        Ok(("--config-file", descriptors))
    }

    /// One that was loaded stands still until it is told.
    async fn go_on(&self, size: Option<ScreenSize>) -> Result<(), VmError> {
        let Some(past) = self.past.clone() else {
            return Ok(());
        };
        let name = self.record.name.clone();
        let client = Client::new(self.shelf.api_socket(&name)).with_time(START);
        let directory = self.held.directory().clone();
        let console = (self.record.spec.console, size);
        let go_on = move || past.go_on(&client, &directory, console, &name);
        match tokio::task::spawn_blocking(go_on).await {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Its API's socket listens already: the call waits in it until the VMM takes it, or is gone.
    async fn until_it_answers(&self, machine: &Machine) -> Result<(), VmError> {
        let client = Client::new(self.shelf.api_socket(&self.record.name)).with_time(START);
        let asked = tokio::task::spawn_blocking(move || client.instance());
        let answer = tokio::select! {
            answer = asked => answer.ok(),
            _ = machine.ended() => None,
        };
        match answer {
            Some(Ok(_)) => Ok(()),
            Some(Err(source)) => {
                // A VMM that ends closes its sockets first.
                let grace = Duration::from_secs(5);
                if tokio::time::timeout(grace, machine.ended()).await.is_ok() {
                    return Err(self.unstarted(&machine.ended().await));
                }
                let name = self.record.name.clone();
                Err(VmError::Api { name, source })
            }
            None => Err(self.unstarted(&machine.ended().await)),
        }
    }

    fn unstarted(&self, ended: &Ended) -> VmError {
        VmError::Unstarted(epitaph(ended, &self.held.directory().vmm_log()))
    }

    /// Makes the directory of the sockets, for this user alone, and the API's socket in it.
    fn make_sockets(&self) -> Result<OwnedFd, VmError> {
        let (shelf, name) = (&self.shelf, &self.record.name);
        // What a dead owner left.
        shelf.remove_runtime(name)?;
        let runtime = shelf.runtime(name);
        if shelf.console_socket(name).as_os_str().len() > LONGEST_SOCKET {
            return Err(Error::LongRuntime(runtime).into());
        }
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&runtime);
        made.map_err(Error::io("make", &runtime))?;
        let api = shelf.api_socket(name);
        let listener = UnixListener::bind(&api).map_err(Error::io("listen at", &api))?;
        Ok(listener.into())
    }

    /// Writes the end down, or removes what was to be removed at its end, and lets go of the lock.
    fn settle(self, end: &VmEnd, past: Option<&Past>) {
        let name = &self.record.name;
        let is_suspended = past.is_some_and(Past::is_own);
        let done = if self.record.auto_remove && !is_suspended {
            self.shelf.remove(self.held, name)
        } else {
            let written = self.shelf.get(name).and_then(|listed| {
                let mut state = listed.state;
                state.ended(end.code, end.reason.as_str(), past);
                Ok(self.shelf.write_state(name, &state)?)
            });
            written.and_then(|()| Ok(self.shelf.remove_runtime(name)?))
        };
        if let Err(error) = done {
            tracing::error!(%error, "the end of microVM {name} was not written down");
        }
    }

    /// What it goes on from by now.
    fn past_now(&self) -> Option<Past> {
        let past = Past::read(self.held.directory());
        past.unwrap_or_else(|error| {
            tracing::error!(%error, "what microVM {} goes on from cannot be read", self.record.name);
            None
        })
    }
}

impl Running {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &VmName {
        self.owned.name()
    }

    /// Stays with the machine to its end, and does what is asked meanwhile.
    pub async fn wait(self, mut asked: mpsc::UnboundedReceiver<Ask>) -> VmEnd {
        let Self {
            owned,
            machine,
            relay,
            wired,
        } = self;
        let ended = loop {
            tokio::select! {
                ended = machine.ended() => break ended,
                Some(ask) = asked.recv() => match ask {
                    // The VMM itself takes the second one for an end.
                    Ask::PowerOff => machine.process().signal(Signal::TERM),
                    Ask::End => machine.process().signal(Signal::INT),
                },
            }
        };
        relay.drain().await;
        detach(wired).await;
        let past = owned.past_now();
        let end = match &past {
            // It was written to files while it stood still, and ended then.
            Some(_) => VmEnd {
                code: 0,
                reason: format!("it is suspended: hull vm resume {} goes on", owned.name()),
                suspended: true,
            },
            None => end_of(&ended, &owned.held.directory().vmm_log()),
        };
        owned.settle(&end, past.as_ref());
        end
    }
}

/// Undoes a network whose machine is gone.
async fn detach(wired: Wired) {
    // What fails in it is logged there.
    let _ = tokio::task::spawn_blocking(move || wired.detach()).await;
}

/// How a VMM's exit status reads.
fn end_of(ended: &Ended, log: &Path) -> VmEnd {
    use std::os::unix::process::ExitStatusExt;
    let status = ended.as_ref().as_ref().ok();
    let cause = status
        .and_then(std::process::ExitStatus::code)
        .and_then(ExitCause::from_code);
    let signal = status.and_then(|status| u8::try_from(status.signal()?).ok());
    let own = |cause: ExitCause| cause.is_of_guest() || cause == ExitCause::Terminated;
    match (cause, signal) {
        (Some(cause), _) if own(cause) => VmEnd {
            code: cause.code(),
            reason: cause.to_string(),
            suspended: false,
        },
        (None, Some(9)) => VmEnd {
            code: KILLED,
            reason: "it was killed".to_owned(),
            suspended: false,
        },
        (_, signal) => VmEnd {
            code: match (cause, signal) {
                (Some(ExitCause::KvmFailure), _) => ExitCause::KvmFailure.code(),
                (_, Some(signal)) => signal.saturating_add(128),
                _ => FAILED,
            },
            reason: epitaph(ended, log),
            suspended: false,
        },
    }
}

/// What the operating system said, as an error of the engine's.
pub(crate) fn io_error(
    verb: &'static str,
    path: impl Into<std::path::PathBuf>,
) -> impl FnOnce(io::Error) -> VmError {
    let path = path.into();
    move |source| Error::io(verb, path)(source).into()
}
