//! `hull resume`: a suspended container goes on.

use std::process::ExitCode;

use hull_engine::Engine;

use crate::context::Context;
use crate::own;
use crate::run::timing::Clock;
use crate::run::{Client, How};

/// Go on with a suspended container, in the foreground
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hull resume web           with its input, output and terminal\n  \
    hull resume -d web        in the background; its output goes to a file"
)]
pub(crate) struct Args {
    /// In the background
    #[arg(short, long)]
    detach: bool,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(ctx.paths().clone())?;
    let id = engine.find(&args.container)?;
    if args.detach {
        own::spawn(&["--resume", id.as_str()]).await?;
        anstream::println!("{}", args.container);
        return Ok(ExitCode::SUCCESS);
    }
    let how = How::of(&engine.config(&id)?);
    engine.reopen(&id).await?;
    let code = Client::new(&engine, &id, how)
        .run(&mut Clock::silent())
        .await?;
    Ok(ExitCode::from(code))
}
