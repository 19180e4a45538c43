//! Published ports: one element of a map each, so that a packet is looked up once, however many there are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use super::super::Published;
use super::Script;

/// Elements in one statement: a line that people can still look at.
const IN_ONE_LINE: usize = 100;

/// `add` with the values, or `delete`.
pub(super) fn elements(script: &mut Script, verb: &str, ports: &[Published]) {
    let mut maps: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for port in ports {
        maps.entry(map(port))
            .or_default()
            .push(element(port, verb == "add"));
    }
    for (map, elements) in maps {
        for some in elements.chunks(IN_ONE_LINE) {
            script.line(format_args!(
                "{verb} element inet hull {map} {{ {} }}",
                some.join(", ")
            ));
        }
    }
}

fn map(port: &Published) -> &'static str {
    match (port.address, port.address.is_unspecified()) {
        (IpAddr::V4(_), true) => "published4",
        (IpAddr::V4(_), false) => "published_at4",
        (IpAddr::V6(_), true) => "published6",
        (IpAddr::V6(_), false) => "published_at6",
    }
}

fn element(port: &Published, with_value: bool) -> String {
    let mut element = String::new();
    if !port.address.is_unspecified() {
        let _ = write!(element, "{} . ", port.address);
    }
    let _ = write!(element, "{} . {}", port.protocol, port.host);
    if with_value {
        let _ = write!(element, " : {} . {}", port.to, port.guest);
    }
    element
}
