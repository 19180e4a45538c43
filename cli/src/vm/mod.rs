//! `hull vm`: plain microVMs, without containers. What is done is `hull_engine::plain`'s.

mod control;
mod foreground;
mod fork;
mod list;
mod output;
mod report;
mod snapshot;
mod spec;
mod start;
mod terminal;

use std::process::ExitCode;

use hull_engine::plain::{MicroVms, VmError, VmName};

use crate::context::Context;

/// Docker's exit status for what fails before there is something that runs.
const FAILED: u8 = 125;

/// Run plain microVMs: a kernel, disks, a console
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull vm run --disk root.ext4                        boot Hull's kernel with this root, here\n  \
    hull vm run --kernel vmlinux --initrd initrd.img    boot another kernel\n  \
    hull vm create --name web --disk root.ext4          make one, for the background\n  \
    hull vm start web && hull vm console web            start it and attach to its console\n  \
    hull vm suspend web && hull vm resume web           write it to disk, and go on where it was\n  \
    hull vm snapshot web warm && hull vm run --from warm    a second one from there\n  \
    hull vm fork web -n 3                               three more as it is now\n  \
    hull vm stop web && hull vm rm web                  power it off and forget it")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(Box<foreground::Args>),
    Create(Box<start::CreateArgs>),
    Start(start::StartArgs),
    Stop(control::StopArgs),
    Kill(control::KillArgs),
    Pause(control::PauseArgs),
    Unpause(control::UnpauseArgs),
    Suspend(control::SuspendArgs),
    Resume(control::ResumeArgs),
    Snapshot(snapshot::Args),
    Fork(fork::Args),
    #[command(visible_alias = "list")]
    Ls(list::LsArgs),
    Inspect(list::InspectArgs),
    Stats(list::StatsArgs),
    Logs(output::LogsArgs),
    Console(output::ConsoleArgs),
    #[command(visible_alias = "remove")]
    Rm(control::RmArgs),
    #[command(hide = true)]
    Own(start::OwnArgs),
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let vms = MicroVms::open(ctx.paths().clone())?;
    match args.command {
        Command::Run(args) => foreground::run(*args, &vms).await,
        Command::Create(args) => start::create(*args, &vms),
        Command::Start(args) => start::start(&args, &vms).await,
        Command::Stop(args) => control::stop(args, &vms).await,
        Command::Kill(args) => control::kill(args, &vms).await,
        Command::Pause(args) => control::pause(args, &vms).await,
        Command::Unpause(args) => control::unpause(args, &vms).await,
        Command::Suspend(args) => control::suspend(args, &vms).await,
        Command::Resume(args) => control::resume(args, &vms).await,
        Command::Snapshot(args) => snapshot::run(args, &vms).await,
        Command::Fork(args) => fork::run(args, &vms).await,
        Command::Ls(args) => list::ls(&args, &vms),
        Command::Inspect(args) => list::inspect(&args, &vms),
        Command::Stats(args) => list::stats(&args, &vms),
        Command::Logs(args) => output::logs(args, vms).await,
        Command::Console(args) => output::console(args, &vms).await,
        Command::Rm(args) => control::rm(args, &vms).await,
        Command::Own(args) => start::own(args, &vms).await,
    }
}

/// A name as it was typed. What cannot be a name is that of no microVM.
fn name(text: &str) -> Result<VmName, VmError> {
    let none = |_| VmError::NotFound(text.to_owned());
    text.parse().map_err(none)
}
