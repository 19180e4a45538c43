//! Networks, ports and names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hull_engine::network::MacAddress;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct Network {
    /// A network, or none; of several, the first one is eth0. Without it, what HULL_NETWORK says, or bridge
    ///
    /// Or at length: name=NETWORK[,alias=NAME][,ip=ADDRESS][,ip6=ADDRESS][,mac-address=ADDRESS][,gw-priority=NUMBER]
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub(crate) network: Vec<String>,
    /// Another name for the container in the first network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
    /// The container's IPv4 address in the first network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<Ipv4Addr>,
    /// The container's IPv6 address in the first network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<Ipv6Addr>,
    /// The container's MAC address in the first network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mac_address: Option<MacAddress>,
    /// A name for another container of the first network
    #[arg(long, value_name = "CONTAINER[:NAME]")]
    pub(crate) link: Vec<String>,
    /// Make ports of the container ports of the host: 8080:80, 127.0.0.1:53:53/udp, 80 (with a port of the host's choice)
    #[arg(short, long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]")]
    pub(crate) publish: Vec<String>,
    /// Publish all ports that the image and --expose name, with ports of the host's choice
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Name a port, or a range of ports, of the program's
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) expose: Vec<String>,
    /// A server to ask for names
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<IpAddr>,
    /// A domain in which names are looked for; "." for none
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// An option of resolv.conf(5)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// Add a name to /etc/hosts; host-gateway is the host's address
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// The domain of the container's host name
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domainname: Option<String>,
}
