//! Published and exposed ports.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding, PortMap};
use hull_engine::network::{HostPorts, Publication};

use super::mount::fields;
use crate::run::args::Network;

pub(super) fn apply(
    args: &Network,
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
) -> anyhow::Result<()> {
    let mut bindings: HashMap<String, Vec<PortBinding>> = HashMap::new();
    for text in &args.publish {
        for (port, binding) in published(&short(text)?.parse()?) {
            bindings.entry(port).or_default().push(binding);
        }
    }
    let mut exposed: Vec<String> = bindings.keys().cloned().collect();
    for text in &args.expose {
        if text.contains(':') {
            bail!("invalid --expose {text:?}: a port of the host is given with --publish");
        }
        // Written as a port that is published.
        let ports: Publication = text
            .parse()
            .with_context(|| format!("invalid --expose {text:?}"))?;
        let ports = ports.guest.map(|port| format!("{port}/{}", ports.protocol));
        for port in ports {
            if !exposed.contains(&port) {
                exposed.push(port);
            }
        }
    }
    body.exposed_ports = Some(exposed).filter(|all| !all.is_empty());
    let bindings: PortMap = bindings
        .into_iter()
        .map(|(port, all)| (port, Some(all)))
        .collect();
    host.port_bindings = Some(bindings).filter(|all| !all.is_empty());
    host.publish_all_ports = Some(args.publish_all);
    Ok(())
}

/// One binding for each port of the container.
fn published(all: &Publication) -> Vec<(String, PortBinding)> {
    let address = all.address.map(|address| address.to_string());
    let one = |(index, guest): (usize, u16)| {
        let host = match &all.host {
            HostPorts::Random => String::new(),
            HostPorts::Exact(range) => range
                .clone()
                .nth(index)
                .map_or_else(String::new, |port| port.to_string()),
            HostPorts::FirstFree(range) => format!("{}-{}", range.start(), range.end()),
        };
        let binding = PortBinding {
            host_ip: address.clone(),
            host_port: Some(host),
        };
        (format!("{guest}/{}", all.protocol), binding)
    };
    all.guest.clone().enumerate().map(one).collect()
}

/// `published=8080,target=80,protocol=tcp,mode=ingress`, put shortly.
fn short(text: &str) -> anyhow::Result<String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let wrong = |field: &str| format!("invalid --publish {text:?}: {field:?}");
    let (mut host, mut guest, mut protocol) = (String::new(), String::new(), "tcp".to_owned());
    for field in fields(text)? {
        let (name, value) = field.split_once('=').with_context(|| wrong(&field))?;
        let value = value.to_owned();
        match name.to_ascii_lowercase().as_str() {
            "published" => host = format!("{value}:"),
            "target" => guest = value,
            "protocol" => protocol = value,
            // There is one host.
            "mode" if matches!(value.as_str(), "host" | "ingress") => {}
            _ => bail!("{}", wrong(&field)),
        }
    }
    Ok(format!("{host}{guest}/{protocol}"))
}
