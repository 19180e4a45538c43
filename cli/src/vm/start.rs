//! `hull vm create` and `start`, and the process in the background that owns a microVM.

use std::process::ExitCode;

use hull_engine::plain::{Ask, MicroVms, VmName};
use rustix::fs::{Mode, OFlags, open};
use tokio::sync::mpsc;

use super::FAILED;
use super::name;
use super::report::{Report, Which};
use super::spec::SpecArgs;
use crate::own;
use crate::run::signals::{INTERRUPT, Signals, WINDOW_CHANGED};

/// Make a microVM, to be started by hull vm start; its name is printed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull vm create --name web --disk root.ext4 --memory 1g\n  \
    hull vm start $(hull vm create --disk root.ext4:ro)\n  \
    hull vm create --kernel bzImage --initrd initrd.img --disk cloud.raw --format json")]
pub(crate) struct CreateArgs {
    /// What to print of it
    #[arg(long, value_enum, default_value_t = Report::Name)]
    format: Report,
    #[command(flatten)]
    spec: SpecArgs,
}

/// Start microVMs in the background
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull vm start web && hull vm console web\n  \
    hull vm start --format json web | jq -r .api_socket")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    which: Which,
}

/// Own a microVM until it ends: what hull vm start leaves in the background
#[derive(Debug, clap::Args)]
pub(crate) struct OwnArgs {
    name: String,
}

/// What the owner says when its microVM runs.
const RUNNING: &[u8] = b"running\n";

pub(super) fn create(args: CreateArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let (name, spec) = args.spec.split();
    match vms.make(name, spec, false) {
        Ok(owned) => {
            args.format.done(owned.name(), vms);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            crate::fail(&error.into());
            Ok(ExitCode::from(FAILED))
        }
    }
}

pub(super) async fn start(args: &StartArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for text in &args.which.names {
        match start_one(text, vms).await {
            Ok(name) => args.which.format.done(&name, vms),
            Err(error) => code = crate::fail(&error),
        }
    }
    Ok(code)
}

async fn start_one(text: &str, vms: &MicroVms) -> anyhow::Result<VmName> {
    // Found out here, for a plain sentence; the owner finds it out again.
    let name = name(text)?;
    vms.get(&name)?;
    own::leave(&format!("microVM {text}"), &["vm", "own", text]).await?;
    Ok(name)
}

/// Becomes the owner, in a session of its own, and stays until the end.
pub(super) async fn own(args: OwnArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    // It fails only for one who leads a group already, as a person who types this does.
    let _ = rustix::process::setsid();
    let mut signals = Signals::listen()?;
    let (running, _) = vms.take(&name(&args.name)?)?.start(None).await?;
    rustix::io::write(rustix::stdio::stdout(), RUNNING)?;
    let nothing = open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;

    let (asks, asked) = mpsc::unbounded_channel();
    let wait = running.wait(asked);
    tokio::pin!(wait);
    let end = loop {
        tokio::select! {
            end = &mut wait => break end,
            signal = signals.next() => match signal {
                WINDOW_CHANGED => {}
                INTERRUPT => drop(asks.send(Ask::End)),
                _ => drop(asks.send(Ask::PowerOff)),
            },
        }
    };
    Ok(ExitCode::from(end.code))
}
