//! The networks that a container is in, and what it knows of names.

use std::net::IpAddr;

use hull_engine::network::{DEFAULT_NETWORK, Link, MacAddress, usual_network};
use hull_engine::{ContainerConfig, ExtraHost, NetworkAttachment};
use serde_json::Value;

use super::body::{CreateBody, EndpointBody, HostConfigBody};
use crate::containers::fields::unsupported;
use crate::error::ApiError;

const ENDPOINTS: &str = "NetworkingConfig.EndpointsConfig";
/// What stands for the host's address.
const HOST_GATEWAY: &str = "host-gateway";

/// The network mode that a client means: a network, or `none`.
///
/// # Errors
/// It is one that a microVM cannot have.
pub(crate) fn mode(body: &CreateBody) -> Result<String, ApiError> {
    let mode = body.host_config.network_mode.as_str();
    if body.network_disabled {
        return Ok("none".to_owned());
    }
    match mode {
        "" | "default" => Ok(usual_network().unwrap_or_else(|| "none".to_owned())),
        "host" => Err(unsupported("HostConfig.NetworkMode", &Value::from(mode))),
        _ if mode.starts_with("container:") => {
            Err(unsupported("HostConfig.NetworkMode", &Value::from(mode)))
        }
        _ => Ok(mode.to_owned()),
    }
}

pub(super) fn convert(body: &CreateBody, config: &mut ContainerConfig) -> Result<(), ApiError> {
    config.networks = networks(body)?;
    config.domainname.clone_from(&body.domainname);
    let host = &body.host_config;
    config.dns = dns(host)?;
    config.dns_search = words(&host.dns_search, "DNS search domain")?;
    config.dns_options = words(&host.dns_options, "DNS option")?;
    let hosts = host.extra_hosts.iter().map(|text| extra_host(text));
    config.extra_hosts = hosts.collect::<Result<_, _>>()?;
    Ok(())
}

fn networks(body: &CreateBody) -> Result<Vec<NetworkAttachment>, ApiError> {
    let mode = mode(body)?;
    let name = |name: &str| match name {
        "" | "default" => mode.clone(),
        other => other.to_owned(),
    };
    let given = &body.networking_config.endpoints_config;
    if mode == "none" {
        return match given
            .keys()
            .map(|key| name(key))
            .find(|name| name != "none")
        {
            None => Ok(Vec::new()),
            Some(_) => Err(hull_engine::Error::NoNetwork.into()),
        };
    }
    let mut all = vec![NetworkAttachment {
        network: mode.clone(),
        ..NetworkAttachment::default()
    }];
    for (key, endpoint) in given {
        let wanted = attachment(&name(key), endpoint)?;
        match all.iter_mut().find(|known| known.network == wanted.network) {
            Some(known) => *known = wanted,
            None => all.push(wanted),
        }
    }
    if let Some(main) = all.first_mut()
        && !body.mac_address.is_empty()
    {
        let mac = mac(&body.mac_address)?;
        if main.mac.is_some_and(|known| known != mac) {
            return Err(ApiError::invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, \
                 or be left empty",
            ));
        }
        main.mac = Some(mac);
    }
    Ok(all)
}

/// What a client says of a container in a network.
///
/// # Errors
/// What is wrong, or cannot be honoured.
pub(crate) fn attachment(
    network: &str,
    endpoint: &EndpointBody,
) -> Result<NetworkAttachment, ApiError> {
    if network == "host" || network == "none" || network.starts_with("container:") {
        return Err(unsupported(ENDPOINTS, &Value::from(network)));
    }
    let ipam = &endpoint.ipam_config;
    if let Some(first) = ipam.link_local_ips.first() {
        let path = format!("{ENDPOINTS}.IPAMConfig.LinkLocalIPs");
        return Err(unsupported(&path, &Value::from(first.clone())));
    }
    if let Some((name, value)) = endpoint.driver_opts.first_key_value() {
        let path = format!("{ENDPOINTS}.DriverOpts");
        return Err(unsupported(&path, &Value::from(format!("{name}={value}"))));
    }
    let mut addresses = Vec::new();
    for (text, is_v6) in [(&ipam.ipv4_address, false), (&ipam.ipv6_address, true)] {
        if text.is_empty() {
            continue;
        }
        let address = text.parse().ok();
        let address = address.filter(|address: &IpAddr| address.is_ipv6() == is_v6);
        addresses.push(address.ok_or_else(|| {
            let family = if is_v6 { "IPv6" } else { "IPv4" };
            invalid_endpoint(&format!("invalid {family} address: {text}"))
        })?);
    }
    if network == DEFAULT_NETWORK {
        if !addresses.is_empty() {
            return Err(invalid_endpoint(
                "user specified IP address is supported on user defined networks only",
            ));
        }
        if let Some(first) = endpoint.links.first() {
            let path = format!("{ENDPOINTS}.Links");
            return Err(unsupported(&path, &Value::from(first.clone())));
        }
        if !endpoint.aliases.is_empty() {
            return Err(invalid_endpoint(
                "network-scoped alias is supported only for containers in user defined networks",
            ));
        }
    }
    Ok(NetworkAttachment {
        network: network.to_owned(),
        addresses,
        mac: match endpoint.mac_address.as_str() {
            "" => None,
            text => Some(mac(text)?),
        },
        aliases: words(&endpoint.aliases, "alias")?,
        links: endpoint.links.iter().map(|text| link(text)).collect(),
        priority: endpoint.gw_priority,
    })
}

/// `container:alias`, or a name that is both.
fn link(text: &str) -> Link {
    let (container, alias) = text.split_once(':').unwrap_or((text, text));
    Link {
        container: container.trim_start_matches('/').to_owned(),
        alias: alias.trim_start_matches('/').to_owned(),
    }
}

fn invalid_endpoint(why: &str) -> ApiError {
    ApiError::invalid(format!("invalid endpoint settings:\n{why}"))
}

fn mac(text: &str) -> Result<MacAddress, ApiError> {
    text.parse()
        .map_err(|_| ApiError::invalid(format!("invalid MAC address: {text}")))
}

fn dns(host: &HostConfigBody) -> Result<Vec<IpAddr>, ApiError> {
    let server = |text: &String| {
        text.parse()
            .map_err(|_| ApiError::invalid(format!("invalid DNS server address: {text}")))
    };
    host.dns.iter().map(server).collect()
}

/// What becomes a word of a line in a file of the guest.
fn words(all: &[String], what: &str) -> Result<Vec<String>, ApiError> {
    let is_word = |text: &String| {
        let fits = |letter: char| letter.is_ascii_graphic() && letter != '#';
        !text.is_empty() && text.len() <= 255 && text.chars().all(fits)
    };
    match all.iter().find(|text| !is_word(text)) {
        Some(text) => Err(ApiError::invalid(format!("invalid {what}: {text:?}"))),
        None => Ok(all.to_vec()),
    }
}

/// `name:address` or `name=address`.
fn extra_host(text: &str) -> Result<ExtraHost, ApiError> {
    let wrong = || ApiError::invalid(format!("bad format for add-host: {text:?}"));
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(wrong)?;
    let name = words(&[name.to_owned()], "host name")?.remove(0);
    let plain = address.trim_start_matches('[').trim_end_matches(']');
    let address = match plain {
        HOST_GATEWAY => None,
        _ => Some(plain.parse().map_err(|_| {
            ApiError::invalid(format!("invalid IP address in add-host: {address:?}"))
        })?),
    };
    Ok(ExtraHost { name, address })
}
