//! The end of a container, in Docker's order: drain output, set the state, close the attachment,
//! answer who waits, end the machine, remove.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hull_image::Image;
use jiff::Timestamp;

use crate::container::{Directory, Held, Shelf, Status, remove_file};
use crate::control::Control;
use crate::errand::{self, Outcome};
use crate::error::{Error, sentence};
use crate::handle::{Exit, Handle, Phase};
use crate::plan::Plan;
use crate::running::{Running, epitaph};
use crate::session::{ProcessEnd, Session, SessionError};
use crate::suspended;
use crate::vm::Machine;

/// How long a guest may take to write its disk back and power off before it is ended.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// Exit code of a container whose machine was ended under it.
const KILLED: u8 = 137;

/// Stays with a container until nothing of it runs any more.
pub(crate) async fn see_to_the_end(
    running: Running,
    control: Control,
    shelf: Shelf,
    handle: Arc<Handle>,
) {
    let mut running = running;
    let ended = loop {
        tokio::select! {
            biased;
            () = handle.kill.cancelled() => break Ended::Gone,
            ended = running.session.ended() => break match ended {
                Ok(end) => Ended::Process(end),
                Err(error) => Ended::Broken(error),
            },
            _ = running.machine.ended() => break Ended::Gone,
            Some(errand) = running.errands.recv() => {
                let outcome = tokio::select! {
                    biased;
                    () = handle.kill.cancelled() => break Ended::Gone,
                    outcome = errand::run(&mut running, errand) => outcome,
                };
                match outcome {
                    Outcome::Runs => {}
                    Outcome::Ended(end) => break Ended::Process(end),
                    Outcome::Suspended => break Ended::Suspended,
                    Outcome::Lost(why) => break Ended::Lost(why),
                }
            }
        }
    };
    let Running {
        plan,
        machine,
        session,
        errands,
        relays,
        sockets: _,
    } = running;
    drop(errands);
    let mut exit = match ended {
        Ended::Process(end) => plain(end),
        Ended::Broken(error) => broken(&error, &machine, &plan).await,
        Ended::Gone => gone(&handle, &machine, &plan).await,
        Ended::Lost(why) => killed(why),
        Ended::Suspended => {
            let written = plan.held.directory().state().and_then(|mut state| {
                state.suspended(Timestamp::now());
                plan.held.write_state(&state)
            });
            report(written, "the state of a container was not written");
            drop((session, control, relays));
            let exit = Exit {
                suspended: true,
                ..killed(String::new())
            };
            return put_away(plan, &shelf, &handle, exit);
        }
    };
    write_end(&plan.held, &exit);
    let machine_is_asked = exit.error.is_empty() && !plan.record.config.auto_remove;
    if machine_is_asked {
        // The client's stream ends here; the session is needed for one more request.
        let session = session.detached();
        handle.phase.send_replace(Phase::Exited(exit.clone()));
        power_off(session, &machine, &handle).await;
    } else {
        drop(session);
        handle.phase.send_replace(Phase::Exited(exit.clone()));
    }
    if handle.measured.load(Ordering::Relaxed) {
        machine.terminate().await;
        exit.metrics = metrics(plan.held.directory());
    }
    machine.kill();
    machine.ended().await;
    // Before somebody else may start the container, whose sockets are in the same place.
    drop((control, relays));
    settle(plan, &shelf);
    handle.phase.send_replace(Phase::Settled(exit));
}

/// How a container came to the end of this.
enum Ended {
    Process(ProcessEnd),
    /// The channel to its agent broke.
    Broken(SessionError),
    /// Its machine is gone, or is to go.
    Gone,
    /// Its machine can no longer be talked to.
    Lost(String),
    /// Its machine is in files.
    Suspended,
}

/// What is left of a container that will be resumed: all of it but its runtime files.
fn put_away(mut plan: Plan, shelf: &Shelf, handle: &Handle, exit: Exit) {
    unwire(&mut plan);
    let removed = shelf.remove_runtime(&plan.record.id);
    report(removed, "files of a container were not removed");
    drop(plan);
    handle.phase.send_replace(Phase::Settled(exit));
}

/// The end of a container that does not end by itself.
fn killed(error: String) -> Exit {
    Exit {
        code: KILLED,
        oom_killed: false,
        suspended: false,
        metrics: None,
        error,
    }
}

/// A start that failed: as with Docker the container stays, never started, unless it was to be removed.
pub(crate) fn never_started(plan: Plan, shelf: &Shelf, handle: &Handle, error: &Error) {
    let exit = Exit {
        code: error.exit_code(),
        oom_killed: false,
        suspended: false,
        metrics: None,
        error: sentence(error),
    };
    let left = remove_file(&plan.held.directory().next_disk());
    report(left, "a disk that no machine came up on was not removed");
    if suspended::is_sealed(plan.held.directory()) {
        let written = plan.held.directory().state().and_then(|mut state| {
            state.suspended(Timestamp::now());
            plan.held.write_state(&state)
        });
        report(written, "the state of a container was not written");
        return put_away(plan, shelf, handle, exit);
    }
    // One that goes at once needs no state, for which there may be no room.
    if !plan.record.is_removed_by_owner() {
        let written = plan.held.directory().state().and_then(|mut state| {
            state.status = Status::Created;
            state.exit_code = Some(exit.code);
            state.error.clone_from(&exit.error);
            state.vmm = None;
            state.started = None;
            plan.held.write_state(&state)
        });
        report(written, "the state of a container was not written");
    }
    settle(plan, shelf);
    handle.phase.send_replace(Phase::Settled(exit));
}

fn plain(end: ProcessEnd) -> Exit {
    Exit {
        code: end.status.code(),
        oom_killed: end.oom_killed,
        suspended: false,
        metrics: None,
        error: String::new(),
    }
}

/// The channel broke: most often because the machine is dying, which is then the better story.
async fn broken(error: &SessionError, machine: &Machine, plan: &Plan) -> Exit {
    if matches!(error, SessionError::Lost(_)) {
        let grace = Duration::from_secs(2);
        if tokio::time::timeout(grace, machine.ended()).await.is_ok() {
            return died(machine, plan).await;
        }
    }
    killed(sentence(error))
}

/// The machine was ended by request, or ended by itself.
async fn gone(handle: &Handle, machine: &Machine, plan: &Plan) -> Exit {
    if handle.kill.is_cancelled() {
        return killed("the microVM was ended on request".to_owned());
    }
    died(machine, plan).await
}

async fn died(machine: &Machine, plan: &Plan) -> Exit {
    let ended = machine.ended().await;
    let why = epitaph(&ended, &plan.held.directory().vmm_log());
    killed(format!("the microVM ended under its container: {why}"))
}

async fn power_off(session: Session, machine: &Machine, handle: &Handle) {
    tokio::select! {
        () = handle.kill.cancelled() => {}
        _ = machine.ended() => {}
        () = tokio::time::sleep(SHUTDOWN) => {
            tracing::warn!("the guest did not power off in time and was ended");
        }
        never = asked(session) => match never {},
    }
}

/// Asks the guest to power off and keeps the connection, which closes a moment before the machine is off.
async fn asked(session: Session) -> std::convert::Infallible {
    if let Err(error) = session.shut_down().await {
        tracing::debug!(%error, "the guest was not asked to power off");
    }
    std::future::pending().await
}

/// What the VMM of a container wrote last of what it counts.
pub(crate) fn metrics(directory: &Directory) -> Option<serde_json::Value> {
    let lines = fs::read_to_string(directory.metrics()).ok()?;
    serde_json::from_str(lines.lines().last()?).ok()
}

fn write_end(held: &Held, exit: &Exit) {
    let written = held.directory().state().and_then(|mut state| {
        state.exited(exit.code, Timestamp::now());
        state.oom_killed = exit.oom_killed;
        state.error.clone_from(&exit.error);
        held.write_state(&state)
    });
    report(written, "the state of a container was not written");
}

/// What is left of a container when nothing of it runs: all of it but its runtime files, or nothing.
fn settle(mut plan: Plan, shelf: &Shelf) {
    unwire(&mut plan);
    let Plan {
        held,
        record,
        image,
        ..
    } = plan;
    let done = if record.is_removed_by_owner() {
        shelf.remove(held, &record)
    } else {
        shelf.remove_runtime(&record.id)
    };
    report(done, "files of a container were not removed");
    // Until here nobody could remove the image's files.
    let _: Image = image;
}

/// The container has no machine any more, and no network.
fn unwire(plan: &mut Plan) {
    std::mem::take(&mut plan.wired).detach(plan.held.directory().path());
}

fn report(done: io::Result<()>, what: &str) {
    if let Err(error) = done {
        tracing::error!(%error, "{what}");
    }
}
