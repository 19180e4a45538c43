//! `hull network connect`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use bollard::models::{EndpointIpamConfig, EndpointSettings, NetworkConnectRequest};

use crate::client::{Daemon, said};
use crate::complete;
use crate::pairs::pair;

/// Connect a container to a network, also while it runs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull network connect backend web\n  \
    hull network connect --ip 10.5.0.9 --alias www --alias shop backend web")]
pub(crate) struct Args {
    /// Another name for it in this network
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    alias: Vec<String>,
    /// An option of the network's driver
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    driver_opt: Vec<(String, String)>,
    /// The network with the highest priority has the container's way out
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    gw_priority: Option<i64>,
    /// Its IPv4 address in this network; a free one if not given
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Its IPv6 address in this network; a free one if not given
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// A name of its own for another container in this network
    #[arg(long, value_name = "CONTAINER[:NAME]")]
    link: Vec<String>,
    /// A link-local address
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    link_local_ip: Vec<String>,
    /// The network
    #[arg(value_name = "NETWORK", add = complete::networks())]
    network: String,
    /// The container
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

pub(super) async fn run(args: Args, daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    let options = args.driver_opt.into_iter().collect();
    let ipam = EndpointIpamConfig {
        ipv4_address: args.ip.map(|ip| ip.to_string()),
        ipv6_address: args.ip6.map(|ip| ip.to_string()),
        link_local_ips: some(args.link_local_ip),
    };
    let request = NetworkConnectRequest {
        container: args.container,
        endpoint_config: Some(EndpointSettings {
            ipam_config: Some(ipam),
            links: some(args.link),
            aliases: some(args.alias),
            driver_opts: Some(options)
                .filter(|all: &std::collections::HashMap<_, _>| !all.is_empty()),
            gw_priority: args.gw_priority,
            ..EndpointSettings::default()
        }),
    };
    let connected = daemon.docker().connect_network(&args.network, request);
    connected.await.map_err(said)?;
    Ok(ExitCode::SUCCESS)
}
