//! What several answers say of a container.

use std::net::IpAddr;

use hull_engine::network::{Link, Protocol};
use hull_engine::supervisor::Container;
use hull_engine::{Connected, HealthStatus, NetworkAttachment, Status};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::config::port;
use crate::words;

/// `created`, `running`, `paused`, `restarting` or `exited`.
pub(crate) fn state(container: &Container) -> &'static str {
    if container.is_restarting() {
        return "restarting";
    }
    match container.state().status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        // Its microVM is in files: to Docker's clients it is one that does not run and can be started.
        Status::Suspended | Status::Exited => "exited",
    }
}

/// Whether it counts as running.
pub(crate) fn is_up(container: &Container) -> bool {
    matches!(state(container), "running" | "paused" | "restarting")
}

/// `Up 5 minutes (healthy)`, `Exited (0) 2 hours ago`.
pub(crate) fn status(container: &Container, now: Timestamp) -> String {
    let state = container.state();
    let since = |time: Option<Timestamp>| {
        words::duration(now.duration_since(time.unwrap_or(state.created)))
    };
    if container.is_restarting() {
        let code = state.exit_code.unwrap_or_default();
        return format!("Restarting ({code}) {} ago", since(state.finished));
    }
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => {
            let health = match container.health().map(|health| health.status) {
                None => "",
                Some(HealthStatus::Starting) => " (health: starting)",
                Some(HealthStatus::Healthy) => " (healthy)",
                Some(HealthStatus::Unhealthy) => " (unhealthy)",
            };
            format!("Up {}{health}", since(state.started))
        }
        Status::Paused => format!("Up {} (Paused)", since(state.started)),
        Status::Suspended => format!("Suspended {} ago", since(state.finished)),
        Status::Exited => {
            let code = state.exit_code.unwrap_or_default();
            format!("Exited ({code}) {} ago", since(state.finished))
        }
    }
}

/// The command as `docker ps` shows it: words with a space in them are quoted.
pub(crate) fn command(argv: &[String]) -> String {
    let word = |(place, word): (usize, &String)| {
        if place > 0 && word.contains(' ') {
            format!("'{word}'")
        } else {
            word.clone()
        }
    };
    argv.iter()
        .enumerate()
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Networks by name, with the container's place in each.
pub(crate) fn networks(container: &Container) -> Value {
    let config = container.config();
    if config.networks.is_empty() {
        return match network_mode(&container.client()).as_str() {
            "none" => json!({ "none": place(&NetworkAttachment::default(), None) }),
            _ => json!({}),
        };
    }
    let connected = container.networks();
    let one = |wanted: &NetworkAttachment| {
        let is_it = |one: &&Connected| {
            one.network == wanted.network || one.network_id.as_str() == wanted.network
        };
        let found = connected.iter().find(is_it);
        let name = found.map_or(&wanted.network, |one| &one.network);
        (name.clone(), place(wanted, found))
    };
    Value::Object(config.networks.iter().map(one).collect())
}

fn place(wanted: &NetworkAttachment, connected: Option<&Connected>) -> Value {
    let of = |is_v6: bool| {
        let addresses = connected.map_or(&[][..], |one| &one.addresses);
        addresses.iter().find(|net| net.addr().is_ipv6() == is_v6)
    };
    let gateway = |is_v6: bool| {
        let gateways = connected.map_or(&[][..], |one| &one.gateways);
        let found = gateways.iter().find(|gateway| gateway.is_ipv6() == is_v6);
        found.map(ToString::to_string).unwrap_or_default()
    };
    let address = |is_v6: bool| of(is_v6).map(|net| net.addr().to_string());
    let prefix = |is_v6: bool| of(is_v6).map_or(0, |net| net.prefix_len());
    let names = connected.map_or(&[][..], |one| &one.names);
    let mac = connected.map(|one| one.mac).or(wanted.mac);
    json!({
        "IPAMConfig": ipam(wanted), "Links": links(wanted),
        "Aliases": if wanted.aliases.is_empty() { Value::Null } else { json!(wanted.aliases) },
        "MacAddress": mac.map(|mac| mac.to_string()).unwrap_or_default(),
        "DriverOpts": null, "GwPriority": wanted.priority,
        "NetworkID": connected.map(|one| one.network_id.as_str()).unwrap_or_default(),
        "EndpointID": connected.map(|one| one.endpoint.as_str()).unwrap_or_default(),
        "Gateway": gateway(false), "IPAddress": address(false).unwrap_or_default(),
        "IPPrefixLen": prefix(false), "IPv6Gateway": gateway(true),
        "GlobalIPv6Address": address(true).unwrap_or_default(), "GlobalIPv6PrefixLen": prefix(true),
        "DNSNames": if names.is_empty() { Value::Null } else { json!(names) },
    })
}

fn links(wanted: &NetworkAttachment) -> Value {
    let link = |link: &Link| format!("{}:{}", link.container, link.alias);
    match wanted.links.is_empty() {
        true => Value::Null,
        false => wanted.links.iter().map(link).collect(),
    }
}

/// The addresses that were asked for.
fn ipam(wanted: &NetworkAttachment) -> Value {
    let mut shown = Map::new();
    for address in &wanted.addresses {
        let family = if address.is_ipv6() {
            "IPv6Address"
        } else {
            "IPv4Address"
        };
        shown.insert(family.to_owned(), json!(address));
    }
    match shown.is_empty() {
        true => Value::Null,
        false => Value::Object(shown),
    }
}

/// A port of a container that runs.
pub(crate) struct Port {
    pub(crate) private: u16,
    pub(crate) protocol: Protocol,
    /// Where on the host it is to be found.
    pub(crate) public: Option<(IpAddr, u16)>,
}

/// The ports of a container, if it runs: each where it is published, and those that are exposed only.
pub(crate) fn ports(container: &Container) -> Vec<Port> {
    let mut all = Vec::new();
    if !matches!(container.state().status, Status::Running | Status::Paused) {
        return all;
    }
    for one in container.networks() {
        all.extend(one.published.iter().map(|port| Port {
            private: port.guest,
            protocol: port.protocol,
            public: Some((port.address, port.host)),
        }));
    }
    let client = container.client();
    let exposed = client.pointer("/ExposedPorts").and_then(Value::as_object);
    for (ports, protocol) in exposed
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| port(key).ok())
    {
        for private in ports {
            let is_it = |one: &Port| one.private == private && one.protocol == protocol;
            if !all.iter().any(is_it) {
                all.push(Port {
                    private,
                    protocol,
                    public: None,
                });
            }
        }
    }
    all
}

/// The network mode that holds.
pub(crate) fn network_mode(client: &Value) -> String {
    let mode = client
        .pointer("/HostConfig/NetworkMode")
        .and_then(Value::as_str);
    match mode.unwrap_or_default() {
        // One that was made before there were networks.
        "" | "default" => "none".to_owned(),
        other => other.to_owned(),
    }
}

/// `starting`, `healthy` or `unhealthy`; `none` of one without health checks.
pub(crate) fn health(container: &Container) -> &'static str {
    match container.health() {
        Some(health) => health.status.as_str(),
        None => "none",
    }
}

/// Bytes of the writable disk that are in use, and of image and disk together.
pub(crate) fn sizes(container: &Container, images: &hull_image::Store) -> (u64, u64) {
    let disk = container.disk_usage();
    let image = images
        .inspect(&container.image_id())
        .map_or(0, |details| details.summary.size);
    (disk, image + disk)
}
