//! `hull image rm`.

use std::process::ExitCode;

use hull_engine::Engine;
use hull_image::{Remove, Removed};

use super::store;
use crate::complete;
use crate::context::Context;
use crate::out;

/// Remove images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image rm busybox:1.36                      takes the name away, and the image with its last name\n  \
    hull image rm -f 3f5ef9003cef                   with all its names, although a container needs it")]
pub(crate) struct RmArgs {
    /// Also images with several names, and those that containers need
    #[arg(short, long)]
    force: bool,
    /// Leave images without a name that it was made of
    #[arg(long)]
    no_prune: bool,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true, add = complete::images())]
    images: Vec<String>,
}

pub(super) fn run(args: &RmArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let store = store(ctx)?;
    let remove = Remove {
        force: args.force,
        keep_parents: args.no_prune,
        uses: Engine::uses(ctx.paths()),
    };
    let mut code = ExitCode::SUCCESS;
    for image in &args.images {
        match store.remove_with(image, &remove) {
            Ok(removed) => print(&removed)?,
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    Ok(code)
}

/// One line per name and image.
pub(super) fn print(removed: &[Removed]) -> anyhow::Result<()> {
    for one in removed {
        match one {
            Removed::Untagged(name) => out::line(&format!("Untagged: {}", name.familiar()))?,
            Removed::Deleted(id) => out::line(&format!("Deleted: {id}"))?,
        }
    }
    Ok(())
}
