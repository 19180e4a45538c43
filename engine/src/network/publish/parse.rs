//! Published ports as people write them: Docker's `[[IP:][HOST]:]GUEST[/PROTOCOL]`.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use thiserror::Error;

use super::super::{HostPorts, Protocol, Publication};

/// Text that names no ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "invalid port {text:?}: {why}; write [IP:]HOST:GUEST[/udp], such as 8080:80, 127.0.0.1:5353:53/udp or 8000-8010:80-90"
)]
pub struct InvalidPublication {
    text: String,
    why: &'static str,
}

impl FromStr for Publication {
    type Err = InvalidPublication;

    fn from_str(text: &str) -> Result<Self, InvalidPublication> {
        parse(text).map_err(|why| InvalidPublication {
            text: text.to_owned(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<Publication, &'static str> {
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err("its protocol is neither tcp nor udp"),
    };
    let (before, guest) = match ports.rsplit_once(':') {
        Some((before, guest)) => (Some(before), guest),
        None => (None, ports),
    };
    let guest = range(guest)?;
    let (address, host) = match before {
        None => (None, ""),
        Some(before) => match before.rsplit_once(':') {
            Some((address, host)) => (Some(self::address(address)?), host),
            None => (None, before),
        },
    };
    let host = match host {
        "" => HostPorts::Random,
        host => {
            let host = range(host)?;
            match (host.len(), guest.len()) {
                (host_count, guest_count) if host_count == guest_count => HostPorts::Exact(host),
                (_, 1) => HostPorts::FirstFree(host),
                _ => return Err("the ranges have different lengths"),
            }
        }
    };
    Ok(Publication {
        protocol,
        address,
        host,
        guest,
    })
}

/// IPv6 stands in brackets.
fn address(text: &str) -> Result<IpAddr, &'static str> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6).ok(),
        None => text.parse().map(IpAddr::V4).ok(),
    };
    address.ok_or("its address is none (IPv6 stands in brackets)")
}

fn range(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text
            .parse::<u16>()
            .ok()
            .filter(|port| is_number && *port > 0);
        port.ok_or("ports are from 1 to 65535")
    };
    let range = match text.split_once('-') {
        Some((first, last)) => port(first)?..=port(last)?,
        None => port(text)?..=port(text)?,
    };
    match range.is_empty() {
        true => Err("a range goes from low to high"),
        false => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> (Protocol, Option<IpAddr>, HostPorts, RangeInclusive<u16>) {
        let all: Publication = text.parse().unwrap();
        (all.protocol, all.address, all.host, all.guest)
    }

    #[test]
    fn docker_s_ways_of_writing_ports_are_known() {
        let exact = |port: u16| HostPorts::Exact(port..=port);
        assert_eq!(
            published("8080:80"),
            (Protocol::Tcp, None, exact(8080), 80..=80)
        );
        assert_eq!(
            published("53:53/udp"),
            (Protocol::Udp, None, exact(53), 53..=53)
        );
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(
            published("127.0.0.1:8080:80/tcp"),
            (Protocol::Tcp, Some(local), exact(8080), 80..=80)
        );
        assert_eq!(
            published("127.0.0.1::80"),
            (Protocol::Tcp, Some(local), HostPorts::Random, 80..=80)
        );
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(
            published("[2001:db8::1]:8080:80"),
            (Protocol::Tcp, Some(v6), exact(8080), 80..=80)
        );
        assert_eq!(
            published("80"),
            (Protocol::Tcp, None, HostPorts::Random, 80..=80)
        );
        assert_eq!(
            published("8000-8002:80-82"),
            (Protocol::Tcp, None, HostPorts::Exact(8000..=8002), 80..=82)
        );
        assert_eq!(
            published("8000-8002:80"),
            (
                Protocol::Tcp,
                None,
                HostPorts::FirstFree(8000..=8002),
                80..=80
            )
        );
    }

    #[test]
    fn what_names_no_ports_says_why() {
        for (text, why) in [
            ("", "1 to 65535"),
            ("0:80", "1 to 65535"),
            ("80:70000", "1 to 65535"),
            ("+80:80", "1 to 65535"),
            ("a:80", "1 to 65535"),
            ("80:80/sctp", "neither tcp nor udp"),
            ("90-80:80", "low to high"),
            ("80-90:80-81", "different lengths"),
            ("localhost:80:80", "its address is none"),
            ("2001:db8::1:80:80", "its address is none"),
        ] {
            let said = text.parse::<Publication>().unwrap_err().to_string();
            assert!(said.contains(why) && said.contains("HOST:GUEST"), "{said}");
        }
    }
}
