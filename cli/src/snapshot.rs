//! `hull snapshot`: containers in files, from which others go on.

use std::process::ExitCode;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{Daemon, escaped};
use crate::complete;
use crate::context::Context;
use crate::format::table::{Format, table};
use crate::format::units::{ago, size};
use crate::out;

/// Take a snapshot of a running container: its memory, processes and disk. It goes on
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
    hull snapshot web warm                    the container web goes on\n  \
    hull run --rm --from warm                 a new container that goes on from there\n  \
    hull snapshot ls\n  \
    hull snapshot rm warm"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    container: Option<String>,
    /// What to call the snapshot
    #[arg(value_name = "NAME", required = true)]
    name: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

/// List snapshots
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Show names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How to print them; json is one object in a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// Remove snapshots; containers that began as one go on
#[derive(Debug, clap::Args)]
struct RmArgs {
    /// Names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// A snapshot, as the daemon lists it.
#[derive(Debug, Deserialize, Serialize)]
struct Listed {
    name: String,
    container: String,
    image: String,
    image_id: String,
    created: Timestamp,
    size: u64,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    match args.command {
        Some(Command::Ls(args)) => ls(&args, &daemon).await,
        Some(Command::Rm(args)) => rm(args, &daemon).await,
        None => {
            let container = args.container.unwrap_or_default();
            let name = args.name.unwrap_or_default();
            let path = format!("/hull/containers/{}/snapshot", escaped(&container));
            let _: Value = daemon.post(&path, &json!({ "name": name })).await?;
            out::line(&name)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn ls(args: &LsArgs, daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let all: Vec<Listed> = daemon.get("/hull/snapshots").await?;
    if args.quiet {
        for one in &all {
            out::line(&one.name)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.format == Format::Json {
        for one in &all {
            out::line(&serde_json::to_string(one)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let mut table = table(&["NAME", "CONTAINER", "IMAGE", "CREATED", "SIZE"]);
    for one in all {
        let created = format!("{} ago", ago(one.created, now));
        table.add_row([one.name, one.container, one.image, created, size(one.size)]);
    }
    out::line(&table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

async fn rm(args: RmArgs, daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in args.names {
        match daemon
            .delete(&format!("/hull/snapshots/{}", escaped(&name)))
            .await
        {
            Ok(()) => out::line(&name)?,
            Err(error) => code = crate::fail(&error),
        }
    }
    Ok(code)
}
