//! `hull exec`: a process beside a container's own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bollard::exec::StartExecOptions;
use bollard::models::ExecConfig;
use hull_engine_api::DetachKeys;

use super::exit::exit_code;
use crate::attach::{End, Options, Program, Session, Streams, terminal};
use crate::client::{Daemon, escaped, said};
use crate::complete;
use crate::context::Context;
use crate::run::env;

/// Run a program in a container that runs
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "hull exec [OPTIONS] CONTAINER COMMAND [ARG...]",
    after_help = "Examples:\n  \
        hull exec -it web sh                             a shell\n  \
        hull exec -u root -w /srv web ls -l\n  \
        hull exec -d -e MODE=once web /usr/bin/job       in the background\n  \
        echo data | hull exec -i web cat\n\n\
        The exit code is the program's own; 126 when it cannot be executed, 127 when it is not there. Keys that leave a \
        terminal (ctrl-p,ctrl-q) leave the program running."
)]
pub(crate) struct Args {
    /// Do not wait for it, nor show what it says
    #[arg(short, long)]
    detach: bool,
    /// The keys that leave a terminal: characters, or ctrl- with one of a-z @ [ \ ] ^ _
    #[arg(long, value_name = "KEYS", default_value = "", value_parser = keys, hide_default_value = true)]
    detach_keys: Keys,
    /// Set a variable; NAME alone takes it from this environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file, one NAME=VALUE in a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Keep standard input open, and pass it on
    #[arg(short, long)]
    interactive: bool,
    /// With all capabilities
    #[arg(long)]
    privileged: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// The user and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The directory that the program starts in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The container: its name, its id, or the beginning of that
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
    /// The program and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        num_args = 1..
    )]
    command: Vec<String>,
}

/// Keys that leave a terminal, as they were said and as they are watched for.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) text: String,
    pub(super) watched: DetachKeys,
}

/// Reads `--detach-keys`.
pub(super) fn keys(text: &str) -> Result<Keys, String> {
    let watched = DetachKeys::parse(text).map_err(|error| error.to_string())?;
    let text = text.to_owned();
    Ok(Keys { text, watched })
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let env = env::entries(&args.env, &args.env_file, |name| std::env::var_os(name))?;
    if !args.detach {
        terminal::check(args.tty, args.interactive)?;
    }
    let daemon = Daemon::connect(ctx).await?;
    let size = terminal::size().filter(|_| args.tty);
    let config = ExecConfig {
        attach_stdin: Some(args.interactive && !args.detach),
        attach_stdout: Some(!args.detach),
        attach_stderr: Some(!args.detach),
        console_size: size.map(|(rows, columns)| vec![rows.into(), columns.into()]),
        detach_keys: Some(args.detach_keys.text).filter(|keys| !keys.is_empty()),
        tty: Some(args.tty),
        env: Some(env),
        cmd: Some(args.command),
        privileged: Some(args.privileged),
        user: args.user,
        working_dir: args.workdir,
    };
    let docker = daemon.docker();
    let made = docker.create_exec(&escaped(&args.container), config).await;
    let id = made.map_err(said)?.id;
    if args.detach {
        let how = StartExecOptions {
            detach: true,
            tty: args.tty,
            output_capacity: None,
        };
        docker.start_exec(&id, Some(how)).await.map_err(said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options {
        tty: args.tty,
        stdin: args.interactive,
        sig_proxy: false,
        patience: None,
        detach_keys: args.detach_keys.watched,
    };
    let mut session = Session::new(&daemon, Program::Exec(id.clone()), options)?;
    let streams = Streams::of_exec(&daemon, &id, args.tty, size).await?;
    session.raw()?;
    let end = session.pass(streams, None).await?;
    session.release();
    match end {
        End::Signal(signal) => return Ok(ExitCode::from(signal.saturating_add(128))),
        End::Detached => {
            anstream::eprintln!("read escape sequence");
            return Ok(ExitCode::FAILURE);
        }
        End::Output => {}
    }
    let ended = docker.inspect_exec(&id).await.map_err(said)?;
    // Its exit code is known before its output ends.
    let code = ended.exit_code;
    let code = code.context("the connection to the program was lost, which may still run")?;
    Ok(exit_code(code))
}
