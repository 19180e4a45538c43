//! The end of a container, in Docker's order: drain output, set the state, close the attachment,
//! answer who waits, end the machine, remove.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hull_image::Image;
use jiff::Timestamp;

use crate::container::{Held, Shelf, Status};
use crate::control::Control;
use crate::error::{Error, sentence};
use crate::handle::{Exit, Handle, Phase};
use crate::plan::Plan;
use crate::running::{Running, epitaph};
use crate::session::{ProcessEnd, Session, SessionError};
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
    let Running {
        plan,
        machine,
        mut session,
    } = running;
    let ended = tokio::select! {
        biased;
        () = handle.kill.cancelled() => None,
        ended = session.ended() => Some(ended),
        _ = machine.ended() => None,
    };
    let mut exit = match ended {
        Some(Ok(end)) => plain(end),
        Some(Err(error)) => broken(&error, &machine, &plan).await,
        None => gone(&handle, &machine, &plan).await,
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
        exit.metrics = metrics(&plan.held);
    }
    machine.kill();
    machine.ended().await;
    drop(control);
    settle(plan, &shelf);
    handle.phase.send_replace(Phase::Settled(exit));
}

/// A start that failed: as with Docker the container stays, never started, unless it was to be removed.
pub(crate) fn never_started(plan: Plan, shelf: &Shelf, handle: &Handle, error: &Error) {
    let exit = Exit {
        code: error.exit_code(),
        oom_killed: false,
        metrics: None,
        error: sentence(error),
    };
    // One that goes at once needs no state, for which there may be no room.
    if !plan.record.config.auto_remove {
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
    Exit {
        code: KILLED,
        oom_killed: false,
        metrics: None,
        error: sentence(error),
    }
}

/// The machine was ended by request, or ended by itself.
async fn gone(handle: &Handle, machine: &Machine, plan: &Plan) -> Exit {
    if handle.kill.is_cancelled() {
        let error = "the microVM was ended on request".to_owned();
        return Exit {
            code: KILLED,
            oom_killed: false,
            metrics: None,
            error,
        };
    }
    died(machine, plan).await
}

async fn died(machine: &Machine, plan: &Plan) -> Exit {
    let ended = machine.ended().await;
    let why = epitaph(&ended, &plan.held.directory().vmm_log());
    let error = format!("the microVM ended under its container: {why}");
    Exit {
        code: KILLED,
        oom_killed: false,
        metrics: None,
        error,
    }
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

fn metrics(held: &Held) -> Option<serde_json::Value> {
    let lines = fs::read_to_string(held.directory().metrics()).ok()?;
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
fn settle(plan: Plan, shelf: &Shelf) {
    let Plan {
        held,
        record,
        image,
        ..
    } = plan;
    let done = if record.config.auto_remove {
        shelf.remove(held, &record)
    } else {
        shelf.remove_runtime(&record.id)
    };
    report(done, "files of a container were not removed");
    // Until here nobody could remove the image's files.
    let _: Image = image;
}

fn report(done: io::Result<()>, what: &str) {
    if let Err(error) = done {
        tracing::error!(%error, "{what}");
    }
}
