//! The foreground of a container: attach, start, pass everything on, wait.
//!
//! The container is the daemon's and goes on if this process does not. Its streams have a connection of their own, which is there before
//! it starts, so that no byte is lost; so has the wait for its end.

use anyhow::Context as _;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use hull_engine_api::DetachKeys;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use super::spinner::Spinner;
use super::timing::Clock;
use crate::attach::{Begun, End, Options, Program, Session, Streams, Wanted, terminal};
use crate::client::{Daemon, Exchange, Said, understood};
use crate::container::Seen;
use crate::out;
use crate::out::Unheard;

/// SIGPIPE: what a program gets that writes where nobody reads.
const PIPE: u8 = 13;

/// How a container is run in the foreground.
#[derive(Clone, Debug)]
pub(crate) struct How<'a> {
    /// Its program has a terminal.
    pub(crate) tty: bool,
    /// Which streams are passed on.
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// Signals go on to the program.
    pub(crate) sig_proxy: bool,
    /// The keys that leave it, as they were given.
    pub(crate) detach_keys: &'a str,
    /// Waits until nothing of it runs any more, and until it is gone if it removes itself.
    pub(crate) to_the_end: bool,
    /// It is not to outlive this if it does not even come to its start.
    pub(crate) is_ours: bool,
    /// The route that starts it, which answers as `/hull/containers/ID/start` does.
    pub(crate) start: String,
}

impl How<'_> {
    /// As the container was made: with a terminal if it has one and there is one here.
    pub(crate) fn as_made(seen: &Seen, start: String) -> Self {
        let (has_tty, stdin) = (seen.config.tty, seen.config.open_stdin);
        Self {
            tty: has_tty,
            // What is piped here is no typing on a terminal.
            stdin: stdin && (!has_tty || terminal::is_stdin()),
            stdout: true,
            stderr: true,
            sig_proxy: true,
            detach_keys: "",
            to_the_end: seen.host_config.auto_remove,
            is_ours: false,
            start,
        }
    }
}

/// What the daemon says of a start.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Started {
    /// Where the time went, in microseconds.
    #[serde(default)]
    pub(crate) steps: Vec<(String, u64)>,
}

/// What the daemon says of an end.
#[derive(Debug, Deserialize)]
struct Exit {
    code: u8,
    error: String,
    oom_killed: bool,
    suspended: bool,
    metrics: Option<Value>,
}

/// Runs a container to its end, or until this is left; the exit code. An error means that its process never ran, or that the daemon
/// is gone.
pub(crate) async fn run(
    daemon: &Daemon,
    id: &str,
    how: How<'_>,
    clock: &mut Clock,
) -> anyhow::Result<u8> {
    let options = Options {
        tty: how.tty,
        stdin: how.stdin,
        sig_proxy: how.sig_proxy,
        // A program that does not react to the first interrupt ends on the second.
        patience: Some(1),
        detach_keys: DetachKeys::parse(how.detach_keys)?,
    };
    let mut session = Session::new(daemon, Program::Container(id.to_owned()), options)?;
    let wanted = Wanted {
        stdin: how.stdin,
        stdout: how.stdout,
        stderr: how.stderr,
        detach_keys: how.detach_keys,
    };
    let condition = match how.to_the_end {
        true => "removed",
        false => "exit",
    };
    let wait = format!("/hull/containers/{id}/wait?condition={condition}");
    let attached = tokio::try_join!(
        Streams::of_container(daemon, id, wanted),
        daemon.exchange(Exchange::new(Method::POST, wait)),
        async {
            session.pass_size().await;
            Ok::<_, anyhow::Error>(())
        },
    );
    let (streams, end, ()) = match attached {
        Ok(attached) => attached,
        Err(error) => {
            if how.is_ours {
                remove(daemon, id).await;
            }
            return Err(error);
        }
    };
    clock.step("attach");
    // Keys that are typed while the machine boots are kept for the program, not echoed; Ctrl-C
    // still interrupts.
    session.quiet()?;
    let spinner = Spinner::start("starting the microVM");
    let begun = session.begin(daemon.post::<Started>(&how.start, &())).await;
    drop(spinner);
    match begun {
        Begun::Done(started) => clock.started(&started?.steps),
        Begun::Stopped { signal, runs } => {
            session.release();
            if runs {
                // Whoever starts the next one of this name finds nothing of this one.
                let _ = understood::<Exit>(end).await;
            }
            return Ok(signal.saturating_add(128));
        }
    }
    if !how.stdout && !how.stderr {
        out::line(id)?;
    }
    session.raw()?;
    let passed = session.pass(streams, Some(clock.first_byte())).await;
    session.release();
    match passed {
        Ok(End::Output) => {}
        Ok(End::Detached) => return Ok(0),
        Ok(End::Signal(signal)) => return Ok(signal.saturating_add(128)),
        // As in a pipe without a daemon in it.
        Err(error) if error.is::<Unheard>() => match how.sig_proxy {
            true => session.tell(&PIPE.to_string()).await,
            false => return Ok(PIPE.saturating_add(128)),
        },
        // It broke, and so has the wait.
        Err(error) => tracing::debug!(%error, "a container's output broke off"),
    }
    clock.step("run");
    let exit = match session.until(understood::<Exit>(end)).await {
        Ok(exit) => exit,
        Err(signal) => return Ok(signal.saturating_add(128)),
    };
    let exit = exit.with_context(|| {
        format!("the container may go on without its daemon: hull attach {id} shows it")
    })?;
    clock.step("end");
    clock.report(exit.metrics.as_ref())?;
    Ok(conclude(id, &how, session.interrupts(), &exit))
}

/// Removes a container that was made for nothing.
async fn remove(daemon: &Daemon, id: &str) {
    let how = RemoveContainerOptionsBuilder::new().force(true).v(true);
    if let Err(error) = daemon
        .docker()
        .remove_container(id, Some(how.build()))
        .await
    {
        tracing::warn!(%error, "a container that was not started is left");
    }
}

fn conclude(id: &str, how: &How<'_>, interrupts: u32, exit: &Exit) -> u8 {
    if exit.suspended {
        let id = id.get(..12).unwrap_or(id);
        anstream::eprintln!("hull: the container is suspended; hull resume {id} goes on with it");
        return 0;
    }
    if interrupts > 1 {
        anstream::eprintln!("hull: the microVM was ended by the second interrupt");
    } else if !exit.error.is_empty() && how.sig_proxy {
        anstream::eprintln!("hull: {}", exit.error);
    } else if exit.oom_killed {
        anstream::eprintln!(
            "hull: the container ran out of memory and its program was killed: give it more with --memory"
        );
    }
    exit.code
}

/// The exit code of a container that was not started: its own, or Docker's for what fails before a process runs.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let said = error.downcast_ref::<Said>();
    said.and_then(|said| said.code).unwrap_or(super::FAILED)
}
