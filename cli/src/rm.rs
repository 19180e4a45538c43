//! `hull rm`: removes containers.

use std::process::ExitCode;

use hull_engine::Engine;

use crate::context::Context;

/// Remove containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also those that run, whose microVMs are ended
    #[arg(short, long)]
    force: bool,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(ctx.paths().clone())?;
    let mut code = ExitCode::SUCCESS;
    for text in &args.containers {
        let removed = match engine.find(text) {
            Ok(id) => engine.remove(&id, args.force).await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => anstream::println!("{text}"),
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    Ok(code)
}
