//! What a container's `/etc/hosts` and `/etc/resolv.conf` say, which follows from its networks.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::{Connected, Wired, in_order};
use crate::container::ContainerConfig;
use crate::network::{host_resolvers, host_search};

/// What a container without a network has for a list of name servers. Not nothing, because the agent would then
/// leave the image's own file, and whoever built the image had other servers.
const NO_NETWORK: &str = "# This container has no network.\n";
const NO_SERVERS: &str = "# The host has no name servers that a container could reach.\n";

/// What the host says of names.
#[derive(Debug)]
struct Host {
    servers: Vec<IpAddr>,
    search: Vec<String>,
}

impl Wired {
    /// The container's name servers.
    pub(crate) fn resolv_conf(&self, config: &ContainerConfig) -> String {
        let host = Host {
            servers: host_resolvers().into_iter().map(IpAddr::V4).collect(),
            search: host_search(),
        };
        let all: Vec<&Connected> = self.connected().collect();
        resolv_conf(&all, config, host)
    }

    /// The container's own names, and those that it was given.
    pub(crate) fn hosts(&self, config: &ContainerConfig, hostname: &str) -> String {
        let all: Vec<&Connected> = self.connected().collect();
        hosts(&all, config, hostname)
    }
}

/// A network's own server knows the names of the containers in it, and asks those that were wanted for others. Without one: those
/// that were wanted, else the host's.
fn resolv_conf(all: &[&Connected], config: &ContainerConfig, host: Host) -> String {
    if all.is_empty() {
        return NO_NETWORK.to_owned();
    }
    let own = in_order(all.iter().copied())
        .iter()
        .find_map(|one| one.name_server);
    let servers = match own {
        Some(own) => vec![own],
        None if config.dns.is_empty() => host.servers,
        None => config.dns.clone(),
    };
    let search = match config.dns_search.as_slice() {
        [] => host.search,
        // There is none: said aloud.
        [root] if root == "." => Vec::new(),
        search => search.to_vec(),
    };
    let mut options = config.dns_options.clone();
    if own.is_some() && !options.iter().any(|one| one.starts_with("ndots:")) {
        // A name without a dot may be a container's.
        options.push("ndots:0".to_owned());
    }
    let mut text = String::new();
    for server in &servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if servers.is_empty() {
        text.push_str(NO_SERVERS);
    }
    for (word, all) in [("search", search), ("options", options)] {
        if !all.is_empty() {
            let _ = writeln!(text, "{word} {}", all.join(" "));
        }
    }
    text
}

/// Its own name leads to its addresses; without a network to loopback, which is all the network there is.
fn hosts(all: &[&Connected], config: &ContainerConfig, hostname: &str) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    let first = in_order(all.iter().copied());
    let host = first
        .iter()
        .find_map(|one| one.gateways.first().copied().or(one.name_server));
    for extra in &config.extra_hosts {
        if let Some(address) = extra.address.or(host) {
            let _ = writeln!(text, "{address}\t{}", extra.name);
        }
    }
    let names = match config.domainname.as_str() {
        "" => hostname.to_owned(),
        domain => format!("{hostname}.{domain} {hostname}"),
    };
    let mut own: Vec<IpAddr> = all
        .iter()
        .flat_map(|one| &one.addresses)
        .map(ipnet::IpNet::addr)
        .collect();
    if own.is_empty() {
        own.push(Ipv4Addr::new(127, 0, 1, 1).into());
    }
    for address in own {
        let _ = writeln!(text, "{address}\t{names}");
    }
    text
}

#[cfg(test)]
mod tests;
