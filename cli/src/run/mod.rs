//! `hull run` and `hull create`: a container of the daemon's, from its options to its exit code.

mod args;
mod cidfile;
mod config;
mod create;
pub(crate) mod foreground;
pub(crate) mod spinner;
pub(crate) mod timing;

use std::process::ExitCode;

use bollard::models::ContainerCreateBody;
use serde::Deserialize;
use serde_json::json;

pub(crate) use args::{Args, CreateArgs};
use cidfile::CidFile;
pub(crate) use config::{env, ulimit};
pub(crate) use create::run as create;
use foreground::How;
pub(crate) use foreground::Started;

use crate::attach::terminal;
use crate::client::Daemon;
use crate::container::Seen;
use crate::context::Context;
use crate::out;

/// Docker's exit code for what fails before a process runs.
const FAILED: u8 = 125;

/// Runs a container and returns its exit code, or that of its start where it is left in the background.
pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    match run_container(args, ctx).await {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            anstream::eprintln!("hull: {error:#}");
            Ok(ExitCode::from(foreground::exit_code(&error)))
        }
    }
}

async fn run_container(args: Args, ctx: &Context) -> anyhow::Result<u8> {
    let mut clock = timing::Clock::start(&args);
    if let Some(snapshot) = &args.from {
        return from_snapshot(&args, snapshot, clock, ctx).await;
    }
    let mut body = config::body(&args.container, &args.image_and_command)?;
    let streams = Streams::of(&args, &mut body)?;
    if streams.is_some() {
        terminal::check(
            args.container.process.tty,
            args.container.process.interactive,
        )?;
    }
    let daemon = Daemon::connect(ctx).await?;
    clock.step("daemon");
    let id = create::create(&daemon, &args.container, body, ctx).await?;
    clock.step("image");
    let is_measured = clock.is_wanted();
    let start = format!(
        "/hull/containers/{id}/start?origin={}&measure={is_measured}",
        match args.cold {
            true => "boot",
            false => "nearest",
        }
    );
    let Some(Streams {
        stdin,
        stdout,
        stderr,
    }) = streams
    else {
        daemon.post::<Started>(&start, &()).await?;
        out::line(&id)?;
        return Ok(0);
    };
    let how = How {
        tty: args.container.process.tty,
        stdin,
        stdout,
        stderr,
        sig_proxy: args.sig_proxy,
        detach_keys: args.detach_keys.as_deref().unwrap_or_default(),
        to_the_end: args.container.basics.rm || is_measured,
        is_ours: args.container.basics.rm,
        start,
    };
    foreground::run(&daemon, &id, how, &mut clock).await
}

/// The streams that the foreground is connected to.
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Streams {
    /// Those that are wanted; nothing where there is no foreground, which the body says then, too.
    fn of(args: &Args, body: &mut ContainerCreateBody) -> anyhow::Result<Option<Self>> {
        let process = &args.container.process;
        if args.detach {
            if !process.attach.is_empty() {
                anyhow::bail!("conflicting options: --attach and --detach cannot be combined");
            }
            body.attach_stdin = Some(false);
            body.attach_stdout = Some(false);
            body.attach_stderr = Some(false);
            body.stdin_once = Some(false);
            return Ok(None);
        }
        let is_said = |stream: Option<bool>| stream.unwrap_or_default();
        let streams = Self {
            stdin: is_said(body.attach_stdin) && process.interactive,
            stdout: is_said(body.attach_stdout),
            stderr: is_said(body.attach_stderr),
        };
        Ok(Some(streams).filter(|all| all.stdin || all.stdout || all.stderr))
    }
}

/// What the daemon says of a container that it has made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

/// Goes on from a snapshot. What the program was started with is as it was.
async fn from_snapshot(
    args: &Args,
    snapshot: &str,
    mut clock: timing::Clock,
    ctx: &Context,
) -> anyhow::Result<u8> {
    let basics = &args.container.basics;
    let labels = config::labels(basics)?;
    let file = basics.cidfile.as_deref().map(CidFile::make).transpose()?;
    let daemon = Daemon::connect(ctx).await?;
    clock.step("daemon");
    let made = json!({
        "snapshot": snapshot,
        "name": basics.name,
        "rm": basics.rm,
        "hostname": basics.hostname,
        "labels": labels,
    });
    let made: Made = daemon.post("/hull/containers/create-from", &made).await?;
    create::note(&daemon, file, &made.id).await?;
    clock.step("snapshot");
    let is_measured = clock.is_wanted();
    let start = format!("/hull/containers/{}/start?measure={is_measured}", made.id);
    if args.detach {
        daemon.post::<Started>(&start, &()).await?;
        out::line(&made.id)?;
        return Ok(0);
    }
    let how = How {
        sig_proxy: args.sig_proxy,
        detach_keys: args.detach_keys.as_deref().unwrap_or_default(),
        to_the_end: basics.rm || is_measured,
        is_ours: basics.rm,
        ..How::as_made(&Seen::of(&daemon, &made.id).await?, start)
    };
    foreground::run(&daemon, &made.id, how, &mut clock).await
}
