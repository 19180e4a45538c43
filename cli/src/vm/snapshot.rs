//! `hull vm snapshot`: microVMs in files, from which others go on.

use std::process::ExitCode;

use hull_engine::plain::{MicroVms, VmError};
use jiff::Timestamp;
use serde_json::json;

use super::name;
use crate::format::table::{Format, table};
use crate::format::units::{ago, size};
use crate::out;
use crate::snapshot::LsArgs;

/// Take a snapshot of a running microVM: its memory, and copies of the disks that it writes. It goes on
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Disks that it only reads, and shares, are not in it: what goes on from there finds them by their paths, as they were.\n\
    While the disks are copied the guest stands still: for milliseconds where their file system shares blocks (Btrfs, XFS).\n\n\
    Examples:\n  \
    hull vm snapshot web warm                 the microVM web goes on\n  \
    hull vm run --from warm                   another one that goes on from there, here\n  \
    hull vm create --name web-2 --from warm   the same for the background\n  \
    hull vm snapshot ls\n  \
    hull vm snapshot rm warm"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The microVM
    #[arg(value_name = "NAME", required = true)]
    name: Option<String>,
    /// What to call the snapshot
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshot: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

/// Remove snapshots; microVMs that began as one go on
#[derive(Debug, clap::Args)]
struct RmArgs {
    /// Names
    #[arg(value_name = "SNAPSHOT", required = true)]
    names: Vec<String>,
}

pub(super) async fn run(args: Args, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Command::Ls(args)) => ls(&args, vms),
        Some(Command::Rm(args)) => rm(&args, vms),
        None => {
            let of = name(&args.name.unwrap_or_default())?;
            let snapshot = args.snapshot.unwrap_or_default();
            let (vms, to) = (vms.clone(), snapshot.clone());
            tokio::task::spawn_blocking(move || vms.snapshot(&of, &to)).await??;
            out::line(&snapshot)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn ls(args: &LsArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let all = vms.snapshots().list()?;
    if args.quiet {
        for one in &all {
            out::line(&one.name)?;
        }
    } else if args.format == Format::Json {
        for one in &all {
            let object = json!({
                "name": one.name,
                "microvm": one.microvm,
                "created": one.made.to_string(),
                "size": one.size,
                "spec": one.spec,
            });
            out::line(&object.to_string())?;
        }
    } else {
        let now = Timestamp::now();
        let mut table = table(&["NAME", "MICROVM", "CPUS", "MEMORY", "CREATED", "SIZE"]);
        for one in &all {
            table.add_row([
                one.name.clone(),
                one.microvm.to_string(),
                one.spec.cpus.to_string(),
                format!("{} MiB", one.spec.memory_mib),
                format!("{} ago", ago(one.made, now)),
                size(one.size),
            ]);
        }
        out::line(&table.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rm(args: &RmArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        let removed: Result<(), VmError> = vms.snapshots().remove(name);
        match removed {
            Ok(()) => out::line(name)?,
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    Ok(code)
}
