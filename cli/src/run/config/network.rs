//! The networks of a container, and what it knows of names.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, NetworkingConfig,
};
use hull_engine::network::DEFAULT_NETWORK;

use super::mount::fields;
use super::some;
use crate::run::args::{Foreign, Network};

/// The network that a container comes to where nobody says anything; the daemon's own idea of it without one.
const USUAL: &str = "HULL_NETWORK";

pub(super) fn apply(
    args: &Network,
    foreign: &Foreign,
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
) -> anyhow::Result<NetworkingConfig> {
    body.domainname.clone_from(&args.domainname);
    let dns: Vec<String> = args.dns.iter().map(ToString::to_string).collect();
    host.dns = some(&dns);
    host.dns_search = some(&args.dns_search);
    host.dns_options = some(&args.dns_option);
    host.extra_hosts = some(&args.add_host);

    let mut names = Vec::new();
    let mut endpoints = HashMap::new();
    for text in &args.network {
        let (name, endpoint) = endpoint(text)?;
        if names.contains(&name) {
            bail!("network {name:?} is specified multiple times");
        }
        endpoints.insert(name.clone(), endpoint);
        names.push(name);
    }
    if let Some(alone) = names.iter().find(|name| is_alone(name) && names.len() > 1) {
        bail!("invalid --network {alone}: it cannot be combined with other networks");
    }
    let first = match names.first() {
        Some(name) => name.clone(),
        None => std::env::var(USUAL)
            .ok()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned()),
    };
    let of_first = of_first(args, foreign, &first)?;
    if let Some(more) = of_first {
        let known = endpoints.entry(first.clone()).or_default();
        *known = merged(std::mem::take(known), more, &first)?;
    }
    if is_built_in(&first) {
        // Docker's links of old, for the daemon to say what to use instead.
        host.links = some(&args.link);
    }
    host.network_mode = Some(first);
    endpoints.retain(|name, endpoint| !is_alone(name) || *endpoint != EndpointSettings::default());
    Ok(NetworkingConfig {
        endpoints_config: Some(endpoints),
    })
}

fn is_alone(network: &str) -> bool {
    matches!(network, "none" | "host") || network.starts_with("container:")
}

fn is_built_in(network: &str) -> bool {
    is_alone(network) || matches!(network, "default" | DEFAULT_NETWORK)
}

/// What options apart from `--network` say of the first one.
fn of_first(
    args: &Network,
    foreign: &Foreign,
    first: &str,
) -> anyhow::Result<Option<EndpointSettings>> {
    let ipam = EndpointIpamConfig {
        ipv4_address: args.ip.map(|address| address.to_string()),
        ipv6_address: args.ip6.map(|address| address.to_string()),
        link_local_ips: some(&foreign.link_local_ip),
    };
    let links = some(&args.link).filter(|_| !is_built_in(first));
    let endpoint = EndpointSettings {
        ipam_config: Some(ipam).filter(|ipam| *ipam != EndpointIpamConfig::default()),
        mac_address: args.mac_address.map(|address| address.to_string()),
        aliases: some(&args.network_alias),
        links,
        ..EndpointSettings::default()
    };
    let is_said = endpoint != EndpointSettings::default();
    if (is_said || !args.publish.is_empty()) && first == "none" {
        bail!(
            "a container without a network has no addresses, aliases or published ports: give it a --network"
        );
    }
    Ok(is_said.then_some(endpoint))
}

/// Both together; nothing may be said twice.
fn merged(
    own: EndpointSettings,
    more: EndpointSettings,
    network: &str,
) -> anyhow::Result<EndpointSettings> {
    let twice = |option: &str, is_twice: bool| match is_twice {
        true => bail!("conflicting options: --{option} is given for network {network}, too"),
        false => Ok(()),
    };
    twice(
        "ip",
        own.ipam_config.is_some() && more.ipam_config.is_some(),
    )?;
    twice(
        "mac-address",
        own.mac_address.is_some() && more.mac_address.is_some(),
    )?;
    twice(
        "network-alias",
        own.aliases.is_some() && more.aliases.is_some(),
    )?;
    Ok(EndpointSettings {
        ipam_config: own.ipam_config.or(more.ipam_config),
        mac_address: own.mac_address.or(more.mac_address),
        aliases: own.aliases.or(more.aliases),
        links: more.links,
        ..own
    })
}

/// A network's name, or `name=web,alias=db,ip=10.0.0.7`.
fn endpoint(text: &str) -> anyhow::Result<(String, EndpointSettings)> {
    let mut endpoint = EndpointSettings::default();
    if !text.contains('=') {
        return Ok((text.to_owned(), endpoint));
    }
    let mut name = None;
    for field in fields(text)? {
        let wrong = || format!("invalid --network {text:?}: {field:?}");
        let (option, value) = field.split_once('=').with_context(wrong)?;
        let value = value.trim().to_owned();
        match option.trim().to_ascii_lowercase().as_str() {
            "name" => name = Some(value),
            "alias" => endpoint.aliases.get_or_insert_default().push(value),
            "ip" => endpoint.ipam_config.get_or_insert_default().ipv4_address = Some(value),
            "ip6" => endpoint.ipam_config.get_or_insert_default().ipv6_address = Some(value),
            "link-local-ip" => {
                let ipam = endpoint.ipam_config.get_or_insert_default();
                ipam.link_local_ips.get_or_insert_default().push(value);
            }
            "mac-address" => endpoint.mac_address = Some(value),
            "gw-priority" => endpoint.gw_priority = Some(value.parse().with_context(wrong)?),
            "driver-opt" => {
                let (key, value) = value.split_once('=').unwrap_or((&value, ""));
                let options = endpoint.driver_opts.get_or_insert_default();
                options.insert(key.to_owned(), value.to_owned());
            }
            _ => bail!("{}", wrong()),
        }
    }
    let name =
        name.with_context(|| format!("invalid --network {text:?}: name=NETWORK is missing"))?;
    Ok((name, endpoint))
}
