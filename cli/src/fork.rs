//! `hull fork`: more of a running container, as it is at this moment.

use std::process::ExitCode;

use clap::ValueEnum;
use hull_engine::Engine;
use serde_json::json;

use crate::context::Context;
use crate::own;

/// Fork a running container, with its memory, processes and disk
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each child is a container of its own in the background: with another id, name, host name, machine id and random numbers,\n\
    and with connections closed. Its processes go on where they were. The container that is forked stands still meanwhile.\n\n\
    Examples:\n  \
    hull fork web                             one child; its id is printed\n  \
    hull fork web -n 10 --rm                  ten, which are removed at their ends\n  \
    hull fork web --name canary               with a name"
)]
pub(crate) struct Args {
    /// How many children
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// A name for the child; several get a number behind it
    #[arg(long)]
    name: Option<String>,
    /// Remove the children at their ends
    #[arg(long)]
    rm: bool,
    /// What to print of them; json is one object, with how long the parent stood still
    #[arg(long, value_enum, default_value_t = Format::Id)]
    format: Format,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Their ids, one in a line
    Id,
    Json,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(ctx.paths().clone())?;
    let parent = engine.find(&args.container)?;
    // Goes when its children are there, which have its files open.
    let snapshot = format!("fork-of-{}-{}", parent.short(), std::process::id());
    let taken = engine.snapshot(&parent, &snapshot).await?;
    let mut code = ExitCode::SUCCESS;
    let mut children = Vec::new();
    for number in 1..=args.count {
        let name = args.name.as_ref().map(|name| match args.count {
            1 => name.clone(),
            _ => format!("{name}-{number}"),
        });
        let mut own = vec!["--from", snapshot.as_str()];
        own.extend(name.iter().flat_map(|name| ["--name", name.as_str()]));
        own.extend(args.rm.then_some("--rm"));
        match own::spawn(&own).await {
            Ok(id) => {
                if args.format == Format::Id {
                    anstream::println!("{id}");
                }
                children.push(id);
            }
            Err(error) => code = crate::fail(&error),
        }
    }
    engine.snapshots().remove(&snapshot)?;
    if args.format == Format::Json {
        let milliseconds = taken.stood_still.as_secs_f64() * 1000.0;
        let object = json!({ "children": children, "parent_stood_still_ms": milliseconds });
        anstream::println!("{object}");
    }
    Ok(code)
}
