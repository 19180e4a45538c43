//! The process in the background that owns a container.

use std::io;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, bail};
use hull_engine::ContainerId;
use rustix::fs::{Mode, OFlags, open};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::context::Context;

/// As which this is called.
pub(crate) const NAME: &str = "own";

/// Own a container of the daemon's until it ends: it is started when the daemon says so
#[derive(Debug, clap::Parser)]
pub(crate) struct Args {
    /// Which one
    #[arg(long, value_name = "ID")]
    container: String,
}

/// Leaves `hull ARGS...` in the background, which is or owns `what`; the line that it says when that runs.
pub(crate) async fn leave(what: &str, args: &[&str]) -> anyhow::Result<String> {
    let own = std::env::current_exe().context("hull does not find its own program")?;
    let mut owner = Command::new(own)
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("a process in the background cannot be started")?;
    // It closes both when what it owns runs, or when it ends.
    let (mut said, mut words) = (String::new(), String::new());
    if let Some(stdout) = &mut owner.stdout {
        stdout.read_to_string(&mut said).await?;
    }
    if said.ends_with('\n') {
        return Ok(said.trim().to_owned());
    }
    if let Some(stderr) = &mut owner.stderr {
        stderr.read_to_string(&mut words).await?;
    }
    let status = owner.wait().await?;
    // What it logged comes before what it died of.
    let last = words.lines().rev().find_map(|l| l.strip_prefix("hull: "));
    match last.unwrap_or(words.trim()) {
        "" => bail!("{what} was not started: its process ended with {status}"),
        words => bail!("{words}"),
    }
}

/// Becomes the owner, in a session of its own, and stays until the end.
pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    // It fails only for one who leads a group already, as a person who types this does.
    let _ = rustix::process::setsid();
    let id = ContainerId::try_from(args.container).map_err(anyhow::Error::msg)?;
    let ready = || {
        let told = rustix::io::write(rustix::stdio::stdout(), b"ready\n");
        if let Err(error) = told.map_err(io::Error::from).and_then(|_| let_go()) {
            tracing::warn!(%error, "the daemon was not told that its container has an owner");
        }
    };
    hull_engine::owner::own(ctx.paths().clone(), &id, ready).await?;
    Ok(ExitCode::SUCCESS)
}

/// Closes what whoever started this process reads.
fn let_go() -> io::Result<()> {
    let nothing = open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(())
}
