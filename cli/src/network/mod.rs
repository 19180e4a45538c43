//! `hull network`: the networks of microVMs. What is done is `hull_engine::network`'s.

mod create;
mod list;
mod rm;

use std::process::ExitCode;

use hull_engine::network::Networks;
use hull_engine::plain::MicroVms;

use crate::context::Context;

/// Look after the networks of microVMs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A network is a bridge of the host with a subnet, NAT to the outside, and a filter that lets each guest\n\
    use only its own MAC and IP address. The network bridge is made when it is first named. A guest reaches\n\
    the others in its network, its gateway by ping, and the outside; the outside reaches ports that are\n\
    published. Only root can have networks (CAP_NET_ADMIN); for others there is hull vm run --net user.\n\n\
    Examples:\n  \
    hull network create backend                                a subnet of Hull's choice\n  \
    hull network create --internal --subnet 10.5.0.0/24 db     without a way out\n  \
    hull network create --ipv6 --mtu 9000 fast\n  \
    hull vm run --net backend,ip=10.200.0.9 --disk root.ext4"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    #[command(visible_alias = "list")]
    Ls(list::LsArgs),
    Inspect(list::InspectArgs),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let paths = ctx.paths().clone();
    let act = move || {
        // It puts in order what dead owners left, of networks, too.
        let vms = MicroVms::open(paths.clone())?;
        let networks = Networks::open(paths.networks())?;
        match args.command {
            Command::Create(args) => create::run(args, &networks),
            Command::Ls(args) => list::ls(&args, &networks, &vms),
            Command::Inspect(args) => list::inspect(&args, &networks, &vms),
            Command::Rm(args) => rm::run(&args, &networks),
        }
    };
    tokio::task::spawn_blocking(act).await?
}
