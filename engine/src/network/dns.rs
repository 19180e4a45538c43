//! The servers of names that a guest without any of its own asks: the host's.

use std::fs;
use std::net::Ipv4Addr;

/// The host's servers that a guest can reach: IPv4, and none of the host's loopback. Where systemd-resolved is the host's only
/// server, these are the ones that it asks itself.
#[must_use]
pub fn host_resolvers() -> Vec<Ipv4Addr> {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let read = |file: &str| parse(&fs::read_to_string(file).unwrap_or_default());
    let mut found = files.into_iter().map(read);
    found
        .find(|servers| !servers.is_empty())
        .unwrap_or_default()
}

/// `man 5 resolv.conf`: the first three servers are asked.
fn parse(text: &str) -> Vec<Ipv4Addr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver");
        address.and_then(|_| words.next()?.parse().ok())
    };
    let all = text.lines().filter_map(server);
    all.filter(|address: &Ipv4Addr| !address.is_loopback() && !address.is_unspecified())
        .take(3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_only_the_host_reaches_are_left_out() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 127.0.0.53\nnameserver  192.0.2.1 # x\n\
            nameserver fd00::53\nnameserver\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let expected = [1, 2, 3].map(|last| Ipv4Addr::new(192, 0, 2, last));
        assert_eq!(parse(text), expected);
        assert_eq!(parse("nameserver 127.0.0.1"), Vec::<Ipv4Addr>::new());
    }
}
