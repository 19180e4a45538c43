//! One attempt to start a container: its machine comes up, its agent answers, its process runs.

use std::fs;
use std::time::Duration;

use hull_agent_protocol::TtySize;
use hull_vm_api::ExitCause;
use jiff::Timestamp;
use tokio::net::UnixListener;

use super::epitaph::{explain, last_line, unbooted};
use super::origin::{Origin, Reach};
use super::{Purpose, Surroundings, Talk};
use crate::error::Error;
use crate::plan::{Past, Plan};
use crate::prepare::{Prepared, Saved, Sockets, prepare};
use crate::session::{self, Opening, Process, Session, SessionError};
use crate::share::Opened;
use crate::suspended;
use crate::timing::Timing;
use crate::vm::{Ended, Machine};

/// How long a machine may take until its process runs. Guest kernels are interpreted on some hosts,
/// where a boot under load takes a minute: this bounds a hang. A machine that dies is noticed at once.
const PATIENCE: Duration = Duration::from_secs(300);

/// One attempt to start a container.
pub(super) struct Attempt<'a> {
    pub(super) plan: &'a Plan,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) opened: &'a Opened,
    pub(super) sockets: Sockets,
    pub(super) size: TtySize,
}

impl Attempt<'_> {
    /// Starts the machine and, if it is to have a client, its process. Nothing runs when it fails, and whoever was to be the
    /// process's client still is.
    pub(super) async fn run(
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
    pub(super) fn clean_up(&self) {
        self.sockets.remove();
        let _ = fs::remove_file(self.plan.held.directory().next_disk());
        if !self.plan.has_disk {
            let _ = fs::remove_file(self.plan.held.directory().disk());
        }
    }
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
