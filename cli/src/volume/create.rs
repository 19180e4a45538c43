//! `hull volume create`.

use std::process::ExitCode;

use bollard::models::VolumeCreateRequest;

use crate::client::{Daemon, said};
use crate::out;
use crate::pairs::pair;

/// Make a volume; its name is printed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull volume create data\n  \
    hull volume create --label team=web --opt type=tmpfs --opt device=tmpfs --opt o=size=100m scratch")]
pub(crate) struct Args {
    /// Its name; a random one if there is none
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
    /// Its driver, of which there is one: local
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// An option of the driver: type, device and o, as mount(8) knows them
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = pair)]
    opts: Vec<(String, String)>,
    /// A label
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = pair)]
    label: Vec<(String, String)>,
}

pub(super) async fn run(args: Args, daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let request = VolumeCreateRequest {
        name: args.name,
        driver: Some(args.driver),
        driver_opts: Some(args.opts.into_iter().collect()),
        labels: Some(args.label.into_iter().collect()),
        cluster_volume_spec: None,
    };
    let made = daemon.docker().create_volume(request).await.map_err(said)?;
    out::line(&made.name)?;
    Ok(ExitCode::SUCCESS)
}
