use super::*;
use crate::network::{Protocol, SubnetSpec};

fn network() -> NetworkRecord {
    let subnet = |net: &str, gateway: &str| SubnetSpec {
        gateway: Some(gateway.parse().unwrap()),
        ..SubnetSpec::new(net.parse::<ipnet::IpNet>().unwrap())
    };
    NetworkRecord {
        id: "0123abcd".to_owned().try_into().unwrap(),
        name: "evil \"; flush ruleset".to_owned(),
        subnets: vec![
            subnet("10.0.0.0/24", "10.0.0.1"),
            subnet("fd00::/64", "fd00::1"),
        ],
        mtu: 1500,
        internal: false,
        inter_container: true,
        masquerade: true,
        services: Vec::new(),
        enable_forwarding: true,
        labels: Default::default(),
        options: Default::default(),
        auxiliary: Default::default(),
        created: Default::default(),
    }
}

fn endpoint() -> EndpointRecord {
    let published = |host| Published {
        protocol: Protocol::Udp,
        address: "0.0.0.0".parse().unwrap(),
        host,
        to: "10.0.0.2".parse().unwrap(),
        guest: 53,
    };
    EndpointRecord {
        id: "89abcdef".to_owned().try_into().unwrap(),
        mac: "02:00:00:00:00:02".parse().unwrap(),
        addresses: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        published: (1000..1250).map(published).collect(),
        container: None,
    }
}

#[test]
fn every_statement_is_about_hulls_own_tables_and_no_text_of_a_user_is_in_it() {
    let mut script = Script::new();
    script.add_network(&network());
    script.add_endpoint(&network(), &endpoint());
    script.remove_endpoint(&network(), &endpoint());
    script.remove_network(&network());
    script.remove_tables();
    let statements = script
        .text()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in statements {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(["add", "delete", "flush"].contains(&words[0]), "{line}");
        assert!(
            ["inet", "bridge"].contains(&words[2]) && words[3] == "hull",
            "{line}"
        );
    }
    assert!(!script.text().contains("evil"));
}

#[test]
fn what_is_removed_was_added_in_the_same_script() {
    let mut script = Script::new();
    script.remove_endpoint(&network(), &endpoint());
    script.remove_network(&network());
    let lines: Vec<&str> = script.text().lines().collect();
    for (index, line) in lines.iter().enumerate() {
        // A thing is named by the words up to its value.
        let Some(thing) = line.strip_prefix("delete ") else {
            continue;
        };
        let name = thing.trim_end_matches(" }").split(", ").next().unwrap();
        let added = lines[..index]
            .iter()
            .any(|line| line.starts_with(&format!("add {name}")));
        assert!(added, "{line}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.contains("udp . 1249 : 10.0.0.2 . 53"))
    );
}
