//! `hull snapshot`: containers in files, from which others go on.

use std::process::ExitCode;

use comfy_table::{Table, presets};
use hull_engine::Engine;
use jiff::Timestamp;
use serde_json::json;

use crate::context::Context;
use crate::image::size::human;
use crate::ps::ago;
use crate::vm::list::Format;

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
    #[arg(value_name = "CONTAINER", required = true)]
    container: Option<String>,
    /// What to call the snapshot
    #[arg(value_name = "NAME", required = true)]
    name: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Ls(LsArgs),
    Rm(RmArgs),
}

/// List snapshots
#[derive(Debug, clap::Args)]
struct LsArgs {
    /// Show names only
    #[arg(short, long)]
    quiet: bool,
    /// How to print them; json is one object in a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Remove snapshots; containers that began as one go on
#[derive(Debug, clap::Args)]
struct RmArgs {
    /// Names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(ctx.paths().clone())?;
    match args.command {
        Some(Command::Ls(args)) => ls(&args, &engine),
        Some(Command::Rm(args)) => Ok(rm(&args, &engine)),
        None => {
            let (container, name) = (
                args.container.unwrap_or_default(),
                args.name.unwrap_or_default(),
            );
            let id = engine.find(&container)?;
            engine.snapshot(&id, &name).await?;
            anstream::println!("{name}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn ls(args: &LsArgs, engine: &Engine) -> anyhow::Result<ExitCode> {
    let all = engine.snapshots().list()?;
    if args.quiet {
        for one in &all {
            anstream::println!("{}", one.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.format == Format::Json {
        for one in &all {
            let object = json!({
                "name": one.name,
                "container": one.container,
                "image": one.image,
                "image_id": one.image_id,
                "created": one.made.to_string(),
                "size": one.size,
            });
            anstream::println!("{object}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "CONTAINER", "IMAGE", "CREATED", "SIZE"]);
    for one in &all {
        table.add_row([
            one.name.clone(),
            one.container.clone(),
            one.image.clone(),
            format!("{} ago", ago(one.made, now)),
            human(one.size),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    anstream::println!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn rm(args: &RmArgs, engine: &Engine) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        match engine.snapshots().remove(name) {
            Ok(()) => anstream::println!("{name}"),
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    code
}
