use super::*;
use crate::container::ExtraHost;

fn connected(network: &str, last: u8, server: Option<&str>) -> Connected {
    Connected {
        network: network.to_owned(),
        network_id: "0123abcd".to_owned().try_into().unwrap(),
        endpoint: "89abcdef".to_owned().try_into().unwrap(),
        interface: "eth0".to_owned(),
        mac: "02:00:00:00:00:07".parse().unwrap(),
        addresses: vec![format!("10.9.0.{last}/24").parse().unwrap()],
        gateways: vec!["10.9.0.1".parse().unwrap()],
        name_server: server.map(|text| text.parse().unwrap()),
        mtu: 1500,
        published: Vec::new(),
        names: Vec::new(),
        priority: 0,
    }
}

fn host() -> Host {
    Host {
        servers: vec!["192.0.2.53".parse().unwrap()],
        search: vec!["example.org".to_owned()],
    }
}

#[test]
fn a_network_s_own_server_comes_before_those_that_were_wanted_and_the_host_s() {
    let (bridge, own) = (
        connected("bridge", 2, None),
        connected("web", 3, Some("10.9.0.1")),
    );
    let mut config = ContainerConfig::default();
    assert_eq!(resolv_conf(&[], &config, host()), NO_NETWORK);
    assert_eq!(
        resolv_conf(&[&bridge], &config, host()),
        "nameserver 192.0.2.53\nsearch example.org\n"
    );
    config.dns = vec!["192.0.2.1".parse().unwrap()];
    config.dns_search = vec![".".to_owned()];
    config.dns_options = vec!["timeout:1".to_owned()];
    assert_eq!(
        resolv_conf(&[&bridge], &config, host()),
        "nameserver 192.0.2.1\noptions timeout:1\n"
    );
    assert_eq!(
        resolv_conf(&[&bridge, &own], &config, host()),
        "nameserver 10.9.0.1\noptions timeout:1 ndots:0\n"
    );
    config.dns_options = vec!["ndots:2".to_owned()];
    let text = resolv_conf(&[&own], &config, host());
    assert!(text.ends_with("options ndots:2\n"), "{text}");
}

#[test]
fn hosts_knows_the_container_and_what_it_was_told() {
    let web = connected("web", 3, None);
    let extra = |name: &str, address: Option<&str>| ExtraHost {
        name: name.to_owned(),
        address: address.map(|text| text.parse().unwrap()),
    };
    let config = ContainerConfig {
        domainname: "example.org".to_owned(),
        extra_hosts: vec![extra("db", Some("192.0.2.9")), extra("host", None)],
        ..ContainerConfig::default()
    };
    let text = hosts(&[&web], &config, "box");
    assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
    assert!(text.ends_with("192.0.2.9\tdb\n10.9.0.1\thost\n10.9.0.3\tbox.example.org box\n"));
    let text = hosts(&[], &ContainerConfig::default(), "box");
    assert!(text.ends_with("\n127.0.1.1\tbox\n"));
}
