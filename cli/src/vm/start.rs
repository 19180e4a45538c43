//! `hull vm create` and `start`, and the process in the background that owns a microVM.

use std::process::ExitCode;

use hull_engine::network::Publication;
use hull_engine::plain::{Ask, MicroVms, NetSpec, Owned, VmChanges, VmName};
use rustix::fs::{Mode, OFlags, open};
use tokio::sync::mpsc;

use super::FAILED;
use super::name;
use super::report::{Report, Which};
use super::spec::SpecArgs;
use crate::attach::signals::{INTERRUPT, Signals, WINDOW_CHANGED};
use crate::own;

/// Make a microVM, to be started by hull vm start; its name is printed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull vm create --name web --disk root.ext4 --memory 1g\n  \
    hull vm start $(hull vm create --disk root.ext4:ro)\n  \
    hull vm create --kernel bzImage --initrd initrd.img --disk cloud.raw --format json\n  \
    hull vm create --name web-2 --from warm && hull vm start web-2")]
pub(crate) struct CreateArgs {
    /// What to print of it
    #[arg(long, value_enum, default_value_t = Report::Name)]
    format: Report,
    #[command(flatten)]
    spec: SpecArgs,
}

/// Start microVMs in the background
#[derive(Debug, clap::Args)]
#[command(
    after_help = "One that is suspended, or was made from a snapshot and never ran, goes on where it was.\n\n\
    Examples:\n  \
    hull vm start web && hull vm console web\n  \
    hull vm start --format json web | jq -r .api_socket"
)]
pub(crate) struct StartArgs {
    /// Boot, also those that would go on where they were, and forget what they would go on from
    #[arg(long)]
    cold: bool,
    #[command(flatten)]
    which: Which,
}

/// Own a microVM until it ends: what hull vm start leaves in the background
#[derive(Debug, clap::Args)]
pub(crate) struct OwnArgs {
    /// One that there is
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    microvm: Option<String>,
    /// It boots in any case
    #[arg(long, requires = "microvm")]
    cold: bool,
    /// A new one that goes on from a snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    from: Option<String>,
    /// Its name
    #[arg(long, requires = "from")]
    name: Option<VmName>,
    /// It is removed at its end
    #[arg(long, requires = "from")]
    rm: bool,
    /// Other ends for its interfaces
    #[arg(long = "net", requires = "from")]
    networks: Vec<NetSpec>,
    /// Ports of the host that are its guest's
    #[arg(short, long, requires = "from")]
    publish: Vec<Publication>,
}

pub(super) fn create(args: CreateArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    match args.spec.make(vms, false) {
        Ok(owned) => {
            args.format.done(owned.name(), vms)?;
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
        match start_one(text, args.cold, vms).await {
            Ok(name) => args.which.format.done(&name, vms)?,
            Err(error) => code = crate::fail(&error),
        }
    }
    Ok(code)
}

/// Starts one in the background.
pub(super) async fn start_one(text: &str, cold: bool, vms: &MicroVms) -> anyhow::Result<VmName> {
    // Found out here, for a plain sentence; the owner finds it out again.
    let name = name(text)?;
    vms.get(&name)?;
    let mut own = vec!["vm", "own", text];
    own.extend(cold.then_some("--cold"));
    own::leave(&format!("microVM {text}"), &own).await?;
    Ok(name)
}

impl OwnArgs {
    fn owned(self, vms: &MicroVms) -> anyhow::Result<Owned> {
        let (cold, microvm) = (self.cold, self.microvm.unwrap_or_default());
        Ok(match self.from {
            Some(snapshot) => {
                let changes = VmChanges {
                    name: self.name,
                    auto_remove: self.rm,
                    networks: self.networks,
                    publish: self.publish,
                };
                vms.make_from(&snapshot, changes)?
            }
            None if cold => vms.take(&name(&microvm)?)?.cold()?,
            None => vms.take(&name(&microvm)?)?,
        })
    }
}

/// Becomes the owner, in a session of its own, and stays until the end.
pub(super) async fn own(args: OwnArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    // It fails only for one who leads a group already, as a person who types this does.
    let _ = rustix::process::setsid();
    let mut signals = Signals::listen()?;
    let (running, _) = args.owned(vms)?.start(None).await?;
    // Now it runs.
    let name = format!("{}\n", running.name());
    rustix::io::write(rustix::stdio::stdout(), name.as_bytes())?;
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
