//! `hull fork`: more of a running container, as it is at this moment.

use std::process::ExitCode;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::{Daemon, escaped};
use crate::complete;
use crate::context::Context;
use crate::out;

/// Fork a running container, with its memory, processes and disk
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each child is a container of its own in the background: with another id, name, host name, machine id and random numbers,\n\
    and with connections closed. Its processes go on where they were, with the volumes and in the networks of the container that is forked. That one\n\
    stands still meanwhile.\n\n\
    Examples:\n  \
    hull fork web                             one child; its id is printed\n  \
    hull fork web -n 10 --rm                  ten, which are removed at their ends\n  \
    hull fork web --name canary               with a name"
)]
pub(crate) struct Args {
    #[command(flatten)]
    children: Children,
    /// What to print of them; json is one object, with how long the parent stood still
    #[arg(long, value_enum, default_value_t = Format::Id)]
    format: Format,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

/// What becomes of a fork.
#[derive(Debug, clap::Args)]
pub(crate) struct Children {
    /// How many children
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) count: u32,
    /// A name for the child; several get a number behind it
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Remove the children at their ends
    #[arg(long)]
    pub(crate) rm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Their ids, one in a line
    Id,
    Json,
}

/// What the daemon says of a fork.
#[derive(Debug, Deserialize, Serialize)]
struct Forked {
    children: Vec<Child>,
    #[serde(skip_serializing)]
    failures: Vec<String>,
    parent_stood_still_ms: f64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Child {
    id: String,
    name: String,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let path = format!("/hull/containers/{}/fork", escaped(&args.container));
    let Children { count, name, rm } = args.children;
    let how = json!({ "count": count, "name": name, "rm": rm });
    let forked: Forked = daemon.post(&path, &how).await?;
    match args.format {
        Format::Id => {
            for child in &forked.children {
                out::line(&child.id)?;
            }
        }
        Format::Json => out::line(&serde_json::to_string(&forked)?)?,
    }
    let mut code = ExitCode::SUCCESS;
    for failure in forked.failures {
        code = crate::fail(&anyhow::Error::msg(failure));
    }
    Ok(code)
}
