//! `hull vm stop`, `kill`, `pause`, `unpause`, `suspend`, `resume` and `rm`.

use std::process::ExitCode;
use std::time::Duration;

use hull_engine::plain::{MicroVms, VmError, VmName, VmStatus};

use super::name;
use super::report::Which;
use super::start::start_one;

/// Ask guests to power off, and after a while end them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A guest is asked by its power button: ACPI's, or that of Hull's own kernel, which starts /sbin/poweroff. A guest that listens\n\
    to neither gets Ctrl-Alt-Del. One that is paused goes on, to hear it. Several are asked at once.\n\n\
    Examples:\n  \
    hull vm stop web\n  \
    hull vm stop --time 60 db cache          give them a minute"
)]
pub(crate) struct StopArgs {
    /// How many seconds a guest may take
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    time: u32,
    #[command(flatten)]
    which: Which,
}

/// End microVMs at once; their guests are not asked
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    which: Which,
}

/// Let the vCPUs of microVMs stand still
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hull vm pause web && hull vm unpause web")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    which: Which,
}

/// Let the vCPUs of paused microVMs run again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hull vm unpause web")]
pub(crate) struct UnpauseArgs {
    #[command(flatten)]
    which: Which,
}

/// Write microVMs that run, with their memory, to disk, and end their machines
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Their disks stay where they are, and must not be changed until they are resumed: what does not go with the memory is not used.\n\n\
    Examples:\n  \
    hull vm suspend web          its memory is in files now, and costs none\n  \
    hull vm resume web           it goes on where it was, also after a restart of the host"
)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    which: Which,
}

/// Go on with suspended microVMs, in the background, or with paused ones
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull vm resume web                 it goes on where it was\n  \
    hull vm start --cold web           it boots, and what it was is forgotten")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
}

/// Remove microVMs; their disks stay, but for the copies of those that went on from a snapshot
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Also those that run, which are ended
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    which: Which,
}

pub(super) async fn stop(args: StopArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let patience = Duration::from_secs(args.time.into());
    each(args.which, vms, |name| {
        let vms = vms.clone();
        async move {
            let (asked, released) = (vms.clone(), vms.clone());
            let (to, of) = (name.clone(), name.clone());
            blocking(move || asked.power_off(&to)).await?;
            let waiting = blocking(move || released.wait_released(&of));
            if let Ok(waited) = tokio::time::timeout(patience, waiting).await {
                return waited;
            }
            match blocking(move || vms.kill(&name)).await {
                // It ended just now.
                Err(VmError::NotRunning(_) | VmError::NotFound(_)) => Ok(()),
                killed => killed,
            }
        }
    })
    .await
}

pub(super) async fn kill(args: KillArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    simply(args.which, vms, |vms, name| vms.kill(name)).await
}

pub(super) async fn pause(args: PauseArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    simply(args.which, vms, |vms, name| vms.pause(name)).await
}

pub(super) async fn unpause(args: UnpauseArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    simply(args.which, vms, |vms, name| vms.resume(name)).await
}

pub(super) async fn suspend(args: SuspendArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    simply(args.which, vms, |vms, name| vms.suspend(name)).await
}

pub(super) async fn resume(args: ResumeArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for text in &args.which.names {
        match resume_one(text, vms).await {
            Ok(name) => args.which.format.done(&name, vms)?,
            Err(error) => code = crate::fail(&error),
        }
    }
    Ok(code)
}

async fn resume_one(text: &str, vms: &MicroVms) -> anyhow::Result<VmName> {
    let name = name(text)?;
    match vms.get(&name)?.state.status {
        VmStatus::Suspended => start_one(text, false, vms).await,
        VmStatus::Running => {
            let (vms, of) = (vms.clone(), name.clone());
            blocking(move || vms.resume(&of)).await?;
            Ok(name)
        }
        VmStatus::Created | VmStatus::Exited => Err(VmError::NotSuspended(name).into()),
    }
}

pub(super) async fn rm(args: RmArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let force = args.force;
    simply(args.which, vms, move |vms, name| vms.remove(name, force)).await
}

/// Does one blocking thing to each.
async fn simply(
    which: Which,
    vms: &MicroVms,
    what: impl Fn(&MicroVms, &VmName) -> Result<(), VmError> + Copy + Send + 'static,
) -> anyhow::Result<ExitCode> {
    each(which, vms, |name| {
        let vms = vms.clone();
        blocking(move || what(&vms, &name))
    })
    .await
}

/// Does something to all at once, prints in their order those that it was done to, and says of the others why not.
async fn each<F>(
    which: Which,
    vms: &MicroVms,
    what: impl Fn(VmName) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = Result<(), VmError>> + Send + 'static,
{
    let begin = |text: &String| {
        let name = name(text)?;
        let done = tokio::spawn(what(name.clone()));
        Ok((name, done))
    };
    let begun: Vec<Result<_, VmError>> = which.names.iter().map(begin).collect();
    let mut code = ExitCode::SUCCESS;
    for one in begun {
        let done = match one {
            Ok((name, done)) => done.await?.map(|()| name),
            Err(error) => Err(error),
        };
        match done {
            Ok(name) => which.format.done(&name, vms)?,
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    Ok(code)
}

async fn blocking(
    what: impl FnOnce() -> Result<(), VmError> + Send + 'static,
) -> Result<(), VmError> {
    match tokio::task::spawn_blocking(what).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
