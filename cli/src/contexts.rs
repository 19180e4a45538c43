//! `hull context`: Docker's contexts say which daemon one speaks to. Here it is the one of this machine.

use std::process::ExitCode;

use anyhow::ensure;
use serde_json::json;

use crate::context::Context;
use crate::format::{Columns, List, Row};
use crate::out;

/// The only one.
const NAME: &str = "default";

const COLUMNS: Columns = Columns {
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Name", "NAME"),
        ("Current", ""),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ],
};

/// Show which daemon this is the client of: that of this machine (HULL_RUN says where it listens)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    docker context create hull --docker \"host=$(hull context ls --format '{{.DockerEndpoint}}')\"")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List contexts, of which there is one
    #[command(visible_alias = "list")]
    Ls {
        /// table, json, or a Go template
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        /// Show names only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show the name of the context
    Show,
    /// Use a context; there is no other one than default
    Use {
        /// Its name
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
}

pub(crate) fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Ls { format, quiet } => {
            let row = Row::new(json!({
                "Name": NAME,
                "Current": true,
                "Description": "The daemon of this machine",
                "DockerEndpoint": format!("unix://{}", ctx.paths().socket().display()),
                "Error": "",
            }));
            List::new(&COLUMNS, format.as_deref(), quiet)?.print([&row])?;
        }
        Command::Show => out::line(NAME)?,
        Command::Use { name } => {
            ensure!(
                name == NAME,
                "context {name:?} is not there: hull speaks to the daemon of this machine; for others there is docker context"
            );
            out::line(NAME)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
