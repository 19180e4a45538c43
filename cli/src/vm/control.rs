//! `hull vm stop`, `kill`, `pause`, `resume` and `rm`.

use std::process::ExitCode;
use std::time::Duration;

use hull_engine::plain::{MicroVms, VmError, VmName};

use super::name;

/// Ask guests to power off, and after a while end them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The guest is asked by Ctrl-Alt-Del. Hull's own kernel has no keyboard: power it off at its console."
)]
pub(crate) struct StopArgs {
    /// How many seconds a guest may take
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    time: u32,
    /// Names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// End microVMs at once; their guests are not asked
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// Names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Let the vCPUs of microVMs stand still
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// Names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Let the vCPUs of paused microVMs run again
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// Names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Remove microVMs; their disks stay
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Also those that run, which are ended
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(super) async fn stop(args: StopArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let patience = Duration::from_secs(args.time.into());
    each(args.names, |name| {
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
    simply(args.names, vms, |vms, name| vms.kill(name)).await
}

pub(super) async fn pause(args: PauseArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    simply(args.names, vms, |vms, name| vms.pause(name)).await
}

pub(super) async fn resume(args: ResumeArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    simply(args.names, vms, |vms, name| vms.resume(name)).await
}

pub(super) async fn rm(args: RmArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let force = args.force;
    simply(args.names, vms, move |vms, name| vms.remove(name, force)).await
}

/// Does one blocking thing to each.
async fn simply(
    names: Vec<String>,
    vms: &MicroVms,
    what: impl Fn(&MicroVms, &VmName) -> Result<(), VmError> + Copy + Send + 'static,
) -> anyhow::Result<ExitCode> {
    each(names, |name| {
        let vms = vms.clone();
        blocking(move || what(&vms, &name))
    })
    .await
}

/// Does something to each, one after the other, prints the names of those that it was done to, and says of the others why not.
async fn each<F>(names: Vec<String>, what: impl Fn(VmName) -> F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = Result<(), VmError>>,
{
    let mut code = ExitCode::SUCCESS;
    for text in names {
        let done = match name(&text) {
            Ok(name) => what(name).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => anstream::println!("{text}"),
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
