//! `hull network`: the networks of containers and microVMs, looked after by the daemon.

mod connect;
mod create;
mod disconnect;
mod inspect;
mod ls;
pub(crate) mod prune;
mod rm;

use std::process::ExitCode;

use crate::client::Daemon;
use crate::context::Context;

/// Manage networks
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A network is a bridge of the host with a subnet, NAT to the outside, and a filter that lets each\n\
    guest use only its own MAC and IP address. The network bridge is there without being made. A guest\n\
    reaches the others in its network, by their names, too, unless it is the network bridge; its gateway\n\
    by ping; and the outside, which reaches ports that are published. Only root can have networks\n\
    (CAP_NET_ADMIN); for others there is hull vm run --net user.\n\n\
    Examples:\n  \
    hull network create backend                                a subnet of Hull's choice\n  \
    hull run -d --name db --network backend postgres\n  \
    hull network connect --alias store backend web             while web runs\n  \
    hull network create --internal --subnet 10.5.0.0/24 db     without a way out\n  \
    hull vm run --net backend,ip=10.200.0.9 --disk root.ext4"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Connect(connect::Args),
    Create(create::Args),
    Disconnect(disconnect::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Prune(prune::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Connect(args) => connect::run(args, &Daemon::connect(ctx).await?).await,
        Command::Create(args) => create::run(args, ctx).await,
        Command::Disconnect(args) => disconnect::run(args, &Daemon::connect(ctx).await?).await,
        Command::Inspect(args) => inspect::run(&args, ctx).await,
        Command::Ls(args) => ls::run(&args, ctx).await,
        Command::Prune(args) => prune::run(&args, ctx).await,
        Command::Rm(args) => rm::run(&args, &Daemon::connect(ctx).await?).await,
    }
}
