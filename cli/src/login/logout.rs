//! `hull logout`.

use std::process::ExitCode;

use hull_image::registry::registry_of;

use super::{HUB, keyring};
use crate::out;

/// Log out from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry; Docker Hub if not given
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let server = args.server.unwrap_or_else(|| HUB.to_owned());
    let registry = registry_of(&server);
    let shown = match registry.as_str() {
        "docker.io" => HUB,
        registry => registry,
    };
    out::line(&format!("Removing login credentials for {shown}"))?;
    let keyring = keyring()?;
    tokio::task::spawn_blocking(move || keyring.forget(&registry)).await??;
    Ok(ExitCode::SUCCESS)
}
