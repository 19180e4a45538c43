//! `hull network rm`.

use std::process::ExitCode;

use crate::client::{Daemon, Said, said};
use crate::complete;
use crate::out;

/// Remove networks in which nobody is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// It is no error if there is no such network
    #[arg(short, long)]
    force: bool,
    /// Names or identifiers
    #[arg(value_name = "NETWORK", required = true, add = complete::networks())]
    names: Vec<String>,
}

pub(super) async fn run(args: &Args, daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        let removed = daemon.docker().remove_network(name).await;
        match removed.map_err(said) {
            Ok(()) => out::line(name)?,
            Err(error) if args.force && is_missing(&error) => {}
            Err(error) => code = crate::fail(&error),
        }
    }
    Ok(code)
}

fn is_missing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Said>()
        .is_some_and(|said| said.status == 404)
}
