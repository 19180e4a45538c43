//! `hull system prune`: all that nobody needs, at once.

use std::process::ExitCode;

use bollard::models::ImageDeleteResponseItem;
use bollard::query_parameters::PruneImagesOptions;

use crate::client::{Daemon, filters, said};
use crate::context::Context;
use crate::pruning::{Filters, bytes, confirmed, deleted, reclaimed};
use crate::{build, container, network, volume};

/// Remove all that nobody needs: stopped containers, networks, images, and volumes if they are asked for
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull system prune                         containers that have ended, networks, images without a name\n  \
    hull system prune -af --volumes           also images with names, and volumes without\n  \
    hull system prune --filter until=24h      of those, what was made a day ago or earlier\n\n\
    Templates, from which containers start, are removed by hull template prune.")]
pub(crate) struct Args {
    /// Images that have a name, too, if no container needs them
    #[arg(short, long)]
    all: bool,
    /// Only what fits: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Volumes, too, that no container uses and that have no name of their own
    #[arg(long)]
    volumes: bool,
}

pub(super) async fn run(args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let filters = filters(&args.filter)?;
    anyhow::ensure!(
        !(args.volumes && filters.contains_key("until")),
        "the \"until\" filter is not supported with \"--volumes\""
    );
    if !args.force && !confirmed(&args.what())? {
        return Ok(ExitCode::SUCCESS);
    }
    let daemon = Daemon::connect(ctx).await?;
    let mut freed = container::prune::prune(&daemon, filters.clone()).await?;
    network::prune::prune(&daemon, filters.clone()).await?;
    if args.volumes {
        freed += volume::prune::prune(&daemon, filters.clone()).await?;
    }
    let all = args.all;
    freed += images(&daemon, filters.clone(), all).await?;
    // Of these nothing has labels.
    if !filters.keys().any(|key| key.starts_with("label")) {
        freed += build::prune::prune(&daemon, filters, all).await?;
    }
    reclaimed(freed)?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// What is about to go.
    fn what(&self) -> String {
        let mut what = vec!["all stopped containers", "all networks that nobody uses"];
        if self.volumes {
            what.push("all volumes without a name that no container uses");
        }
        what.push(match self.all {
            true => "all images without a container that needs them",
            false => "all images without a name",
        });
        what.push("the results of builds' steps that no image needs");
        format!("\n  - {}\n", what.join("\n  - "))
    }
}

async fn images(daemon: &Daemon, mut filters: Filters, all: bool) -> anyhow::Result<u64> {
    filters.insert("dangling".to_owned(), vec![(!all).to_string()]);
    let options = PruneImagesOptions {
        filters: Some(filters),
    };
    let pruned = daemon.docker().prune_images(Some(options)).await;
    let pruned = pruned.map_err(said)?;
    let line = |item: ImageDeleteResponseItem| match (item.untagged, item.deleted) {
        (Some(name), _) => Some(format!("untagged: {name}")),
        (None, id) => id.map(|id| format!("deleted: {id}")),
    };
    let removed = pruned.images_deleted.unwrap_or_default().into_iter();
    deleted("Images", &removed.filter_map(line).collect::<Vec<_>>())?;
    Ok(bytes(pruned.space_reclaimed))
}
