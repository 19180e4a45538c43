//! `hull rm`: removes containers.

use std::process::ExitCode;

use bollard::query_parameters::RemoveContainerOptionsBuilder;

use super::each::each_says;
use crate::client::{Daemon, Said, escaped, said};
use crate::complete;
use crate::context::Context;

/// Remove containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull rm web\n  \
    hull rm -f web                            though it runs\n  \
    hull rm -v database                       with the volumes that have no name\n  \
    hull rm $(hull ps -aq -f status=exited)   all that have ended")]
pub(crate) struct Args {
    /// Also those that run, whose microVMs are ended; those that are not there are no failure
    #[arg(short, long)]
    force: bool,
    /// Remove a link between containers, which are not there: networks are
    #[arg(short, long)]
    link: bool,
    /// With their anonymous volumes
    #[arg(short, long)]
    volumes: bool,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let how = RemoveContainerOptionsBuilder::new()
        .force(args.force)
        .link(args.link)
        .v(args.volumes)
        .build();
    each_says(args.containers, |name| {
        let (docker, how) = (daemon.docker().clone(), how.clone());
        async move {
            let removed = docker.remove_container(&escaped(&name), Some(how)).await;
            match removed.map_err(said) {
                Ok(()) => Ok(Some(name)),
                Err(error) if args.force && is_missing(&error) => {
                    anstream::eprintln!("hull: {error}");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        }
    })
    .await
}

fn is_missing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Said>()
        .is_some_and(|said| said.status == 404)
}
