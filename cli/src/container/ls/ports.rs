//! The column of ports: neighbours are one range.

use std::net::IpAddr;

use serde::Deserialize;

/// A port of a container, and the host's that leads to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Port {
    // In the order in which they are shown.
    private_port: u16,
    #[serde(rename = "IP")]
    ip: String,
    public_port: u16,
    #[serde(rename = "Type")]
    protocol: String,
}

/// Ports one after the other that are published in the same way.
#[derive(Debug)]
struct Range {
    ip: String,
    protocol: String,
    first: u16,
    last: u16,
}

/// `0.0.0.0:80-81->80-81/tcp, 443/tcp`.
pub(super) fn shown(ports: &[Port]) -> String {
    let mut ports = ports.to_vec();
    ports.sort();
    let (mut ranges, mut moved): (Vec<Range>, Vec<String>) = (Vec::new(), Vec::new());
    let mut complete = Vec::new();
    for port in ports {
        let Port {
            private_port,
            ip,
            public_port,
            protocol,
        } = port;
        if !ip.is_empty() && public_port != private_port {
            let host = address(&ip, &public_port.to_string());
            moved.push(format!("{host}->{private_port}/{protocol}"));
            continue;
        }
        let range = Range {
            ip,
            protocol,
            first: private_port,
            last: private_port,
        };
        let same = |one: &&mut Range| one.ip == range.ip && one.protocol == range.protocol;
        match ranges.iter_mut().find(same) {
            None => ranges.push(range),
            Some(known) if known.last.checked_add(1) == Some(private_port) => {
                known.last = private_port;
            }
            Some(known) => complete.push(std::mem::replace(known, range).to_string()),
        }
    }
    complete.extend(ranges.iter().map(Range::to_string));
    complete.extend(moved);
    complete.join(", ")
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports = match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        };
        if !self.ip.is_empty() {
            write!(f, "{}->", address(&self.ip, &ports))?;
        }
        write!(f, "{ports}/{}", self.protocol)
    }
}

fn address(ip: &str, ports: &str) -> String {
    match ip.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{ports}"),
        _ => format!("{ip}:{ports}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, public_port: u16, private_port: u16) -> Port {
        Port {
            private_port,
            ip: ip.to_owned(),
            public_port,
            protocol: "tcp".to_owned(),
        }
    }

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(shown(&[]), "");
        let ports = [
            port("", 0, 443),
            port("0.0.0.0", 81, 81),
            port("0.0.0.0", 80, 80),
            port("0.0.0.0", 90, 90),
            port("::", 8080, 80),
            port("", 0, 65535),
        ];
        assert_eq!(
            shown(&ports),
            "0.0.0.0:80-81->80-81/tcp, 443/tcp, 0.0.0.0:90->90/tcp, 65535/tcp, [::]:8080->80/tcp"
        );
    }
}
