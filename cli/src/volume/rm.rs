//! `hull volume rm`.

use std::process::ExitCode;

use bollard::query_parameters::RemoveVolumeOptions;

use crate::client::{Daemon, said};
use crate::complete;
use crate::out;

/// Remove volumes that no container uses
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// It is no error if there is no such volume
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(value_name = "VOLUME", required = true, add = complete::volumes())]
    names: Vec<String>,
}

pub(super) async fn run(args: &Args, daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        let options = RemoveVolumeOptions { force: args.force };
        match daemon.docker().remove_volume(name, Some(options)).await {
            Ok(()) => out::line(name)?,
            Err(error) => code = crate::fail(&said(error)),
        }
    }
    Ok(code)
}
