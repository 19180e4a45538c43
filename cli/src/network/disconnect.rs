//! `hull network disconnect`.

use std::process::ExitCode;

use bollard::models::NetworkDisconnectRequest;

use crate::client::{Daemon, said};
use crate::complete;

/// Take a container out of a network, also while it runs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// It is no error if there is no such container any more
    #[arg(short, long)]
    force: bool,
    /// The network
    #[arg(value_name = "NETWORK", add = complete::networks())]
    network: String,
    /// The container
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

pub(super) async fn run(args: Args, daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let request = NetworkDisconnectRequest {
        container: args.container,
        force: Some(args.force),
    };
    let disconnected = daemon.docker().disconnect_network(&args.network, request);
    disconnected.await.map_err(said)?;
    Ok(ExitCode::SUCCESS)
}
