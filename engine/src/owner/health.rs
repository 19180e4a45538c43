//! The checks of a container's well-being: a process in it from time to time, made by its owner, so that they go on without a daemon.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::exec::{self, ExecSpec, Started};
use super::serve::Owner;
use super::wire::Happening;
use crate::attachment::OutputReader;
use crate::container::{HealthCheck, Status, random_id};
use crate::error::sentence;
use crate::health::{Checked, Health, LONGEST_OUTPUT};

/// Checks a container until nobody wants to know any more: the caller drops this at its end.
pub(super) async fn watch(owner: Arc<Owner>, check: HealthCheck) {
    let (started, mut health) = (Instant::now(), Health::default());
    write(&owner, &health);
    loop {
        tokio::time::sleep(health.wait(&check, started.elapsed())).await;
        if is_paused(&owner) {
            continue;
        }
        let checked = make(&owner, &check).await;
        // One that came to stand still in a check is as well as it was.
        if checked.exit_code != 0 && is_paused(&owner) {
            continue;
        }
        let is_new = health.note(&check, checked, started.elapsed());
        write(&owner, &health);
        if is_new {
            owner.tell(Happening::Health(health.status));
        }
    }
}

fn is_paused(owner: &Owner) -> bool {
    let state = owner.directory().state();
    state.is_ok_and(|state| state.status == Status::Paused)
}

fn write(owner: &Owner, health: &Health) {
    if let Err(error) = health.write(&owner.directory()) {
        tracing::warn!(%error, "what came of a health check was not written down");
    }
}

/// Makes one check.
async fn make(owner: &Owner, check: &HealthCheck) -> Checked {
    let (start, mut output) = (Timestamp::now(), Vec::new());
    let ran = tokio::time::timeout(check.timeout, run(owner, check, &mut output)).await;
    let (exit_code, said) = match ran {
        Ok(Ok(code)) => (code, String::from_utf8_lossy(&output).into_owned()),
        Ok(Err(why)) => (-1, why),
        Err(_) => (
            -1,
            format!("Health check exceeded timeout ({})", words(check.timeout)),
        ),
    };
    Checked {
        start,
        end: Timestamp::now(),
        exit_code,
        output: said,
    }
}

/// A duration as Docker writes it: `30s`, `1.5s`.
fn words(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

async fn run(owner: &Owner, check: &HealthCheck, output: &mut Vec<u8>) -> Result<i32, String> {
    let spec = ExecSpec {
        argv: check.test.clone(),
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    };
    let id = random_id().map_err(|error| error.to_string())?;
    let started = exec::start(owner.vsock(), owner.base(), id, spec, None).await;
    let Started {
        mut session,
        exec: _exec,
        output: mut said,
    } = started.map_err(|error| sentence(&error))?;
    let mut collecting = std::pin::pin!(collect(&mut said, output));
    let ended = tokio::select! {
        ended = session.ended() => ended,
        () = &mut collecting => session.ended().await,
    };
    // Then there is an end of its output, too. Whoever gives up on the check before drops this, and the guest ends its process.
    drop(session);
    collecting.await;
    ended
        .map(|end| end.status.code().into())
        .map_err(|error| sentence(&error))
}

async fn collect(said: &mut OutputReader, output: &mut Vec<u8>) {
    while let Some(piece) = said.next().await {
        let room = LONGEST_OUTPUT.saturating_sub(output.len());
        output.extend(piece.data.into_iter().take(room));
    }
}
