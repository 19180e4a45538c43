//! `hull stop`: asks containers to stop.

use std::process::ExitCode;
use std::time::Duration;

use hull_engine::Engine;

use crate::context::Context;

/// Stop containers: by the signal of the image or of --stop-signal, and after a while by force
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seconds a container may take
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    time: u32,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(ctx.paths().clone())?;
    let patience = Duration::from_secs(args.time.into());
    let mut code = ExitCode::SUCCESS;
    for text in &args.containers {
        let stopped = match engine.find(text) {
            Ok(id) => engine.stop(&id, patience).await,
            Err(error) => Err(error),
        };
        match stopped {
            Ok(()) => anstream::println!("{text}"),
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    Ok(code)
}
