//! Ports of the host that are a container's.

use std::ops::RangeInclusive;

use hull_engine::network::{HostPorts, Protocol, Publication};
use serde_json::Value;

use super::body::{CreateBody, PortBindingBody};
use crate::containers::fields::unsupported;
use crate::error::ApiError;

/// What is to be published: what was said, and, where all ports are to be, those that are exposed and of which nothing was said.
///
/// # Errors
/// A port is none, or of a protocol that is not published.
pub(in crate::containers) fn published(body: &CreateBody) -> Result<Vec<Publication>, ApiError> {
    let mut all = Vec::new();
    let bindings = &body.host_config.port_bindings;
    for (text, hosts) in bindings {
        let (guest, protocol) = port(text)?;
        for host in hosts {
            all.push(publication(protocol, guest.clone(), host)?);
        }
    }
    let exposed = body.exposed_ports.keys().chain(bindings.keys());
    for text in exposed.filter(|_| body.host_config.publish_all_ports) {
        let (guest, protocol) = port(text)?;
        let is_said = |one: &Publication| one.protocol == protocol && one.guest == guest;
        if !all.iter().any(is_said) {
            all.push(Publication {
                protocol,
                address: None,
                host: HostPorts::Random,
                guest,
            });
        }
    }
    Ok(all)
}

fn publication(
    protocol: Protocol,
    guest: RangeInclusive<u16>,
    host: &PortBindingBody,
) -> Result<Publication, ApiError> {
    let wrong = |what: &str, text: &str| ApiError::invalid(format!("invalid {what}: {text}"));
    let address = match host.host_ip.as_str() {
        "" => None,
        text => {
            let address = text.trim_start_matches('[').trim_end_matches(']');
            Some(
                address
                    .parse()
                    .map_err(|_| wrong("IP address in a port binding", text))?,
            )
        }
    };
    let ports = match host.host_port.as_str() {
        "" | "0" => HostPorts::Random,
        text => {
            let range = range(text).ok_or_else(|| wrong("hostPort", text))?;
            match range.len() == guest.len() {
                true => HostPorts::Exact(range),
                false if guest.len() == 1 => HostPorts::FirstFree(range),
                false => return Err(wrong("hostPort", text)),
            }
        }
    };
    Ok(Publication {
        protocol,
        address,
        host: ports,
        guest,
    })
}

/// `80`, `80/tcp`, `8000-8010/udp`.
pub(crate) fn port(text: &str) -> Result<(RangeInclusive<u16>, Protocol), ApiError> {
    let wrong = || ApiError::invalid(format!("invalid port specification: {text:?}"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => return Err(unsupported("HostConfig.PortBindings", &Value::from(text))),
        _ => return Err(wrong()),
    };
    Ok((range(ports).ok_or_else(wrong)?, protocol))
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ports(body: &Value) -> Result<Vec<Publication>, String> {
        let body = serde_json::from_value(body.clone()).unwrap();
        published(&body).map_err(|error| error.message)
    }

    #[test]
    fn ports_are_published_as_they_are_said() {
        let all = ports(&json!({ "HostConfig": { "PortBindings": {
            "80/tcp": [{ "HostPort": "8080" }, { "HostIp": "127.0.0.1", "HostPort": "" }],
            "53/udp": [{ "HostPort": "5300-5310" }],
        } } }))
        .unwrap();
        assert_eq!(all.len(), 3);
        let [udp, exact, random] = all.as_slice() else {
            panic!()
        };
        assert_eq!(udp.host, HostPorts::FirstFree(5300..=5310));
        assert_eq!(udp.protocol, Protocol::Udp);
        assert_eq!(exact.host, HostPorts::Exact(8080..=8080));
        assert_eq!(exact.address, None);
        assert_eq!(random.host, HostPorts::Random);
        assert_eq!(random.address, Some("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn all_ports_are_those_that_are_exposed_and_not_published_anyway() {
        let body = json!({
            "ExposedPorts": { "80/tcp": {}, "443/tcp": {}, "53/udp": {} },
            "HostConfig": { "PublishAllPorts": true, "PortBindings": { "80/tcp": [{ "HostPort": "1080" }] } },
        });
        let all = ports(&body).unwrap();
        let random = all.iter().filter(|one| one.host == HostPorts::Random);
        assert_eq!((all.len(), random.count()), (3, 2));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for (port, host) in [
            ("0/tcp", ""),
            ("80/icmp", ""),
            ("http", ""),
            ("80/sctp", ""),
            ("80-70/tcp", ""),
            ("80/tcp", "x"),
            ("80/tcp", "65536"),
            ("80-81/tcp", "80-90"),
        ] {
            let bindings = json!({ port: [{ "HostPort": host }] });
            let body = json!({ "HostConfig": { "PortBindings": bindings } });
            assert!(ports(&body).is_err(), "{port} {host}");
        }
    }
}
