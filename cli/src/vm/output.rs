//! `hull vm logs` and `console`: what a guest prints, and what is typed to it.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use hull_engine::plain::{MicroVms, VmStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::{name, terminal};
use crate::attach::signals::{Signals, WINDOW_CHANGED};

/// Show what a microVM's console printed since its last start
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// Go on until it ends
    #[arg(short, long)]
    follow: bool,
    /// The name
    #[arg(value_name = "NAME")]
    name: String,
}

/// Attach to a microVM's console, both ways
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys go to the guest as they are typed; Ctrl-] detaches and leaves it running.\n\
    What was printed before is in hull vm logs. Several can be attached: all see and type, and the guest's terminal is as\n\
    large as that of the one who attached or changed it last."
)]
pub(crate) struct ConsoleArgs {
    /// The name
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) async fn logs(args: LogsArgs, vms: MicroVms) -> anyhow::Result<ExitCode> {
    tokio::task::spawn_blocking(move || show_log(&args, &vms)).await??;
    Ok(ExitCode::SUCCESS)
}

fn show_log(args: &LogsArgs, vms: &MicroVms) -> anyhow::Result<()> {
    let name = name(&args.name)?;
    let mut follow = vms.follow(&name)?;
    let mut log = vms.log(&name)?;
    loop {
        // Asked before reading: what was printed before the end is read after it.
        let goes_on = args.follow
            && vms
                .get(&name)
                .is_ok_and(|listed| listed.state.status == VmStatus::Running);
        loop {
            let piece = log.read()?;
            if piece.is_empty() {
                break;
            }
            match io::stdout()
                .lock()
                .write_all(&piece)
                .and_then(|()| io::stdout().flush())
            {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
        }
        if !goes_on {
            return Ok(());
        }
        follow.wait()?;
    }
}

pub(super) async fn console(args: ConsoleArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let name = name(&args.name)?;
    let socket = vms.console(&name)?;
    let stream = UnixStream::connect(&socket).await;
    let stream = stream.with_context(|| format!("the console of microVM {name} cannot be had"))?;
    let mut signals = Signals::listen()?;
    if io::stdin().is_terminal() {
        anstream::eprintln!("hull: attached to microVM {name}; Ctrl-] detaches");
    }
    let raw = terminal::raw()?;
    let (mut from, mut to) = stream.into_split();

    let (keys, mut typed) = mpsc::channel::<Vec<u8>>(16);
    let typing = async {
        while let Some(bytes) = typed.recv().await {
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let (screen, output) = mpsc::channel(16);
    let printing = async move {
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let piece = buffer.get(..length).unwrap_or_default().into();
            if screen.send(piece).await.is_err() {
                return;
            }
        }
    };
    let sizes = terminal::Sizes::of(vms, &name);
    sizes.tell();
    let signalled = async {
        while signals.next().await == WINDOW_CHANGED {
            sizes.tell();
        }
    };
    let over = tokio::select! {
        () = terminal::pass_keys(keys) => "detached",
        () = signalled => "detached",
        ((), ()) = async { tokio::join!(printing, terminal::show(output)) } => "its console closed",
        () = typing => "its console closed",
    };
    drop(raw);
    anstream::eprintln!("hull: {over}");
    Ok(ExitCode::SUCCESS)
}
