//! `hull network rm`.

use std::process::ExitCode;

use hull_engine::network::Networks;

/// Remove networks that have no guests
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or identifiers
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
}

pub(super) fn run(args: &Args, networks: &Networks) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        match networks.find(name).and_then(|network| network.remove()) {
            Ok(()) => anstream::println!("{name}"),
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    Ok(code)
}
