//! What the host knows of servers of names (resolv.conf(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

/// The host's own file, and that of systemd-resolved: where that one is the host's only server, its servers are in it.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// So many servers are asked, and so many domains looked in, by those who read the file.
const SERVERS: usize = 3;
const DOMAINS: usize = 6;

/// The servers that a guest without any of its own asks: the host's that a guest can reach, IPv4, and none of the host's
/// loopback. Where systemd-resolved is the host's only server, these are the ones that it asks itself.
#[must_use]
pub fn host_resolvers() -> Vec<Ipv4Addr> {
    let mut found = FILES.into_iter().map(|file| reachable(&read(file)));
    found
        .find(|servers| !servers.is_empty())
        .unwrap_or_default()
}

/// The servers that the host itself asks.
pub(crate) fn own_resolvers() -> Vec<IpAddr> {
    servers(&read(FILES[0])).take(SERVERS).collect()
}

/// The domains in which the host looks for names.
#[must_use]
pub fn host_search() -> Vec<String> {
    search(&read(FILES[0]))
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn servers(text: &str) -> impl Iterator<Item = IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver");
        address.and_then(|_| words.next()?.parse().ok())
    };
    text.lines()
        .filter_map(server)
        .filter(|address: &IpAddr| !address.is_unspecified())
}

fn reachable(text: &str) -> Vec<Ipv4Addr> {
    let v4 = servers(text).filter_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    v4.filter(|address| !address.is_loopback())
        .take(SERVERS)
        .collect()
}

/// The last of these lines counts.
fn search(text: &str) -> Vec<String> {
    let domains = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let first = words
            .next()
            .filter(|word| matches!(*word, "search" | "domain"));
        first.map(|_| words.take(DOMAINS).map(str::to_owned).collect())
    };
    text.lines().rev().find_map(domains).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 127.0.0.53\nnameserver  192.0.2.1 # x\n\
        nameserver fd00::53\nnameserver\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\nsearch a.example b\n";

    #[test]
    fn servers_that_only_the_host_reaches_are_left_out() {
        let expected = [1, 2, 3].map(|last| Ipv4Addr::new(192, 0, 2, last));
        assert_eq!(reachable(TEXT), expected);
        assert_eq!(reachable("nameserver 127.0.0.1"), Vec::<Ipv4Addr>::new());
        let all: Vec<IpAddr> = servers(TEXT).collect();
        assert_eq!(all.len(), 6);
        assert!(all.contains(&"127.0.0.53".parse().unwrap()));
    }

    #[test]
    fn the_last_line_of_domains_counts() {
        assert_eq!(search(TEXT), ["a.example", "b"]);
        assert_eq!(search("domain x.example"), ["x.example"]);
        assert_eq!(search("searching y"), Vec::<String>::new());
    }
}
