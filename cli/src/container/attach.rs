//! `hull attach`.

use std::process::ExitCode;

use clap::ArgAction;

use super::exec::{Keys, keys};
use super::{Seen, Waiting};
use crate::attach::{End, Options, Program, Session, Streams, Wanted, terminal};
use crate::client::Daemon;
use crate::complete;
use crate::context::Context;

/// Connect this terminal to the program of a container that runs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull attach web                   ctrl-c stops its program, ctrl-p ctrl-q leave one that has a terminal\n  \
    hull attach --no-stdin web        only look\n  \
    hull attach --sig-proxy=false web ctrl-c leaves it")]
pub(crate) struct Args {
    /// The keys that leave a terminal: characters, or ctrl- with one of a-z @ [ \ ] ^ _
    #[arg(long, value_name = "KEYS", default_value = "", value_parser = keys, hide_default_value = true)]
    detach_keys: Keys,
    /// Pass nothing on of what is typed
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the program, if it has no terminal
    #[arg(long, default_value_t = true, default_missing_value = "true", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    sig_proxy: bool,
    /// Its name, its id, or the beginning of that
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let seen = Seen::of(&daemon, &args.container).await?;
    seen.check_attachable()?;
    let stdin = !args.no_stdin && seen.config.open_stdin;
    terminal::check(seen.config.tty, stdin)?;
    let options = Options {
        tty: seen.config.tty,
        stdin,
        // A terminal that is closed takes its client with it, and not the program.
        sig_proxy: args.sig_proxy && !seen.config.tty,
        patience: None,
        detach_keys: args.detach_keys.watched,
    };
    // The id, for the name may be another's before this ends.
    let id = seen.id;
    let waiting = Waiting::begin(&daemon, &id, "not-running").await?;
    let wanted = Wanted {
        stdin,
        stdout: true,
        stderr: true,
        detach_keys: &args.detach_keys.text,
    };
    let streams = Streams::of_container(&daemon, &id, wanted).await?;
    let mut session = Session::new(&daemon, Program::Container(id), options)?;
    session.raw()?;
    session.redraw().await;
    let end = session.pass(streams, None).await?;
    let ended = match end {
        End::Output => session.until(waiting.exit_code()).await,
        End::Detached => {
            drop(session);
            anstream::eprintln!("read escape sequence");
            return Ok(ExitCode::FAILURE);
        }
        End::Signal(signal) => Err(signal),
    };
    match ended {
        Ok(code) => code,
        Err(signal) => Ok(ExitCode::from(signal.saturating_add(128))),
    }
}
