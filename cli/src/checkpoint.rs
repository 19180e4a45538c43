//! `hull checkpoint`: states of a container to go back to.

use std::process::ExitCode;

use bollard::container::CreateCheckpointOptions;
use clap::Subcommand;
use serde_json::json;

use crate::client::{Daemon, escaped, said};
use crate::complete;
use crate::context::Context;
use crate::format::{Columns, List, Row};
use crate::out;

const COLUMNS: Columns = Columns {
    table: "{{.Name}}",
    quiet: "{{.Name}}",
    headers: &[("Name", "CHECKPOINT NAME")],
};

/// Checkpoints of containers: their memory, their processes and their files
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull checkpoint create --leave-running web before\n  \
    hull stop web && hull start --checkpoint before web\n  \
    hull checkpoint ls web")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep a container as it is now
    Create {
        /// Let it run on; otherwise it ends
        #[arg(long)]
        leave_running: bool,
        /// Its name, its id, or the beginning of that
        #[arg(value_name = "CONTAINER", add = complete::containers())]
        container: String,
        /// The checkpoint's name
        #[arg(value_name = "CHECKPOINT")]
        checkpoint: String,
    },
    /// List the checkpoints of a container
    #[command(visible_alias = "list")]
    Ls {
        /// Its name, its id, or the beginning of that
        #[arg(value_name = "CONTAINER", add = complete::containers())]
        container: String,
    },
    /// Remove a checkpoint
    #[command(visible_alias = "remove")]
    Rm {
        /// The container's name, its id, or the beginning of that
        #[arg(value_name = "CONTAINER", add = complete::containers())]
        container: String,
        /// The checkpoint's name
        #[arg(value_name = "CHECKPOINT")]
        checkpoint: String,
    },
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let docker = daemon.docker();
    match args.command {
        Command::Create {
            leave_running,
            container,
            checkpoint,
        } => {
            let how = CreateCheckpointOptions {
                checkpoint_id: checkpoint.clone(),
                checkpoint_dir: None,
                exit: !leave_running,
            };
            let made = docker.create_checkpoint(&escaped(&container), how).await;
            made.map_err(said)?;
            out::line(&checkpoint)?;
        }
        Command::Ls { container } => {
            let all = docker.list_checkpoints(&escaped(&container), None).await;
            let all = all.map_err(said)?;
            let rows: Vec<Row> = all
                .iter()
                .map(|one| Row::new(json!({ "Name": one.name })))
                .collect();
            List::new(&COLUMNS, None, false)?.print(&rows)?;
        }
        Command::Rm {
            container,
            checkpoint,
        } => {
            let (container, checkpoint) = (escaped(&container), escaped(&checkpoint));
            let removed = docker
                .delete_checkpoint(&container, &checkpoint, None)
                .await;
            removed.map_err(said)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
