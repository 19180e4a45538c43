//! `hull start`.

use std::process::ExitCode;

use anyhow::bail;

use super::each::each;
use super::exec::{Keys, keys};
use super::{Seen, Waiting};
use crate::attach::{End, Options, Program, Session, Streams, Wanted, terminal};
use crate::client::{Daemon, escaped};
use crate::complete;
use crate::context::Context;

/// Start containers that do not run
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull start web\n  \
    hull start -ai shell                      with its terminal\n  \
    hull start --checkpoint before web        as it was at a checkpoint")]
pub(crate) struct Args {
    /// Show what its program says, pass signals on if it has no terminal, and exit with its exit code
    #[arg(short, long)]
    attach: bool,
    /// The checkpoint to go on from
    #[arg(long, value_name = "CHECKPOINT")]
    checkpoint: Option<String>,
    /// The keys that leave a terminal: characters, or ctrl- with one of a-z @ [ \ ] ^ _
    #[arg(long, value_name = "KEYS", default_value = "", value_parser = keys, hide_default_value = true)]
    detach_keys: Keys,
    /// The same as --attach, with standard input
    #[arg(short, long)]
    interactive: bool,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let attaches = args.attach || args.interactive;
    let [container] = args.containers.as_slice() else {
        if attaches {
            bail!("you cannot start and attach multiple containers at once");
        }
        if args.checkpoint.is_some() {
            bail!("you cannot restore multiple containers at once");
        }
        return in_background(args, ctx).await;
    };
    match attaches {
        true => in_foreground(container, &args, ctx).await,
        false => in_background(args, ctx).await,
    }
}

async fn in_background(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    each(args.containers, |name| {
        let (daemon, checkpoint) = (daemon.clone(), args.checkpoint.clone());
        async move { start(&daemon, &name, checkpoint.as_deref()).await }
    })
    .await
}

/// Starts one, whose name is as it is in a path.
async fn start(daemon: &Daemon, name: &str, checkpoint: Option<&str>) -> anyhow::Result<()> {
    let mut path = format!("/containers/{name}/start");
    if let Some(checkpoint) = checkpoint {
        path.push_str("?checkpoint=");
        path.push_str(&escaped(checkpoint));
    }
    daemon.post(&path, &()).await
}

async fn in_foreground(name: &str, args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let seen = Seen::of(&daemon, name).await?;
    let stdin = args.interactive && seen.config.open_stdin;
    terminal::check(seen.config.tty, stdin)?;
    let id = seen.id;
    let condition = match seen.host_config.auto_remove {
        true => "removed",
        // One that runs already is attached to.
        false if seen.state.running => "not-running",
        false => "next-exit",
    };
    let waiting = Waiting::begin(&daemon, &id, condition).await?;
    let wanted = Wanted {
        stdin,
        stdout: true,
        stderr: true,
        detach_keys: &args.detach_keys.text,
    };
    let options = Options {
        tty: seen.config.tty,
        stdin,
        // A terminal that is closed takes its client with it, and not the program.
        sig_proxy: !seen.config.tty,
        patience: None,
        detach_keys: args.detach_keys.watched.clone(),
    };
    let mut session = Session::new(&daemon, Program::Container(id.clone()), options)?;
    let streams = Streams::of_container(&daemon, &id, wanted).await?;
    session.pass_size().await;
    session.quiet()?;
    let started = start(&daemon, &id, args.checkpoint.as_deref());
    match session.until(started).await {
        Ok(started) => started?,
        Err(signal) => return Ok(ExitCode::from(signal.saturating_add(128))),
    }
    session.raw()?;
    let ended = match session.pass(streams, None).await? {
        End::Output => session.until(waiting.exit_code()).await,
        End::Detached => return Ok(ExitCode::SUCCESS),
        End::Signal(signal) => Err(signal),
    };
    match ended {
        Ok(code) => code,
        Err(signal) => Ok(ExitCode::from(signal.saturating_add(128))),
    }
}
