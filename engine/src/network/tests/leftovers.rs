//! What is left of networks and endpoints when something comes between: nothing, and nothing foreign is touched.

use super::super::{
    Addressing, EndpointSpec, Error, HostPorts, NetworkSpec, Protocol, Publication, SubnetSpec,
};
use super::*;

fn at_port(port: u16) -> Publication {
    Publication {
        protocol: Protocol::Tcp,
        address: None,
        host: HostPorts::Exact(port..=port),
        guest: 80..=80,
    }
}

fn publishing(port: u16) -> EndpointSpec {
    EndpointSpec {
        publish: vec![at_port(port)],
        ..EndpointSpec::default()
    }
}

fn with_subnet(name: &str, net: &str) -> NetworkSpec {
    let mut spec = NetworkSpec::new(name);
    spec.ipv4 = Addressing::Subnet(SubnetSpec::new(net.parse::<ipnet::IpNet>().unwrap()));
    spec
}

#[test]
fn after_a_restart_of_the_host_there_are_no_rules_without_a_bridge() {
    let Some(host) = Host::new() else { return };
    let before = host.all();
    let network = host.create(&NetworkSpec::new("restarted"));
    drop(host.attach(&network, &publishing(8080)));
    let bridge = network.id().bridge();
    host.namespace
        .enter(|| sh(&format!("nft flush ruleset; ip link del {bridge}")));
    assert_eq!(host.all(), before);
    eventually("the endpoint is seen to be dead", || {
        let recovered = host.namespace.enter(|| host.networks.recover()).unwrap();
        recovered.endpoints.len() == 1
    });
    assert_eq!(host.all(), before);
}

#[test]
fn a_network_whose_subnet_is_another_s_by_now_touches_nothing() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&with_subnet("late", "10.9.0.0/24"));
    host.namespace.enter(|| host.networks.recover()).unwrap();
    host.namespace
        .enter(|| sh("ip addr add 10.9.0.1/24 dev up0"));
    let before = host.all();
    let attach = || host.namespace.enter(|| network.attach(&publishing(8080)));
    let error = attach().unwrap_err();
    assert!(matches!(error, Error::Overlap { .. }), "{error}");
    assert_eq!(host.all(), before, "what is not Hull's is not masqueraded");
    host.namespace
        .enter(|| sh("ip addr del 10.9.0.1/24 dev up0"));
    assert!(attach().is_ok());
}

#[test]
fn ports_that_somebody_else_published_go_with_the_endpoint() {
    let Some(host) = Host::new() else { return };
    let before = host.all();
    let network = host.create(&NetworkSpec::new("shared"));
    let mut endpoint = host.attach(&network, &publishing(8080));
    let adopted = host.namespace.enter(|| network.adopt(endpoint.id()));
    let mut adopted = adopted.unwrap();
    host.namespace
        .enter(|| adopted.publish(&[at_port(9090)]))
        .unwrap();
    drop(adopted);
    host.namespace
        .enter(|| endpoint.publish(&[at_port(7070)]))
        .unwrap();
    assert_eq!(endpoint.published().len(), 3);
    host.namespace.enter(|| endpoint.detach()).unwrap();
    for port in [8080, 9090, 7070] {
        let endpoint = host.attach(&network, &publishing(port));
        host.namespace.enter(|| endpoint.detach()).unwrap();
    }
    host.namespace.enter(|| network.remove()).unwrap();
    assert_eq!(host.all(), before);
}

#[test]
fn an_endpoint_that_was_ended_by_another_process_makes_nothing_when_it_ends() {
    let Some(host) = Host::new() else { return };
    let before = host.all();
    let network = host.create(&NetworkSpec::new("twice"));
    let mut endpoint = host.attach(&network, &publishing(8080));
    let adopted = host.namespace.enter(|| network.adopt(endpoint.id()));
    host.namespace.enter(|| adopted.unwrap().detach()).unwrap();
    let gone = host.namespace.enter(|| endpoint.publish(&[at_port(9090)]));
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    host.namespace.enter(|| network.remove()).unwrap();
    host.namespace.enter(|| endpoint.detach()).unwrap();
    assert_eq!(host.all(), before);
}

#[test]
fn a_dead_endpoint_s_port_can_be_published_by_one_that_lives() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&NetworkSpec::new("heir"));
    let dead = host.attach(&network, &publishing(8080));
    let mut living = host.attach(&network, &EndpointSpec::default());
    drop(dead);
    eventually("the port is free", || {
        let published = host.namespace.enter(|| living.publish(&[at_port(8080)]));
        match published {
            Ok(_) => true,
            // A process that another test just starts has the dead one's lock for a moment.
            Err(Error::PortTaken { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    });
}

/// Two state directories on one host: two Hulls that know nothing of each other.
#[test]
fn two_hulls_make_and_remove_networks_at_once() {
    let Some(host) = Host::new() else { return };
    let before = host.all();
    let directories = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    thread::scope(|scope| {
        for directory in &directories {
            scope.spawn(|| {
                host.namespace.enter(|| {
                    let networks = Networks::open(directory.path()).unwrap();
                    for _ in 0..6 {
                        let network = networks.create(&NetworkSpec::new("mine")).unwrap();
                        let endpoint = network.attach(&EndpointSpec::default()).unwrap();
                        endpoint.spoofed().unwrap();
                        endpoint.detach().unwrap();
                        network.remove().unwrap();
                    }
                });
            });
        }
    });
    assert_eq!(host.all(), before);
}

#[test]
fn networks_are_made_and_removed_by_many_at_once() {
    let Some(host) = Host::new() else { return };
    let before = host.all();
    let names = ["a", "b", "c", "d", "e", "f"];
    thread::scope(|scope| {
        for name in names {
            let host = &host;
            scope.spawn(move || {
                host.namespace.enter(|| {
                    // Only one of those who want the same gets it.
                    let same = host.networks.create(&NetworkSpec::new("same"));
                    let network = host.networks.create(&NetworkSpec::new(name)).unwrap();
                    let endpoint = network.attach(&EndpointSpec::default()).unwrap();
                    endpoint.detach().unwrap();
                    network.remove().unwrap();
                    match same {
                        Ok(network) => network.remove().unwrap(),
                        Err(error) => assert!(matches!(error, Error::NameTaken { .. }), "{error}"),
                    }
                });
            });
        }
    });
    assert_eq!(host.all(), before);
}

#[test]
fn the_largest_frames_and_no_larger_ones() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("jumbo");
    spec.mtu = 65521;
    let network = host.create(&spec);
    let guest = host.guest(&network, &EndpointSpec::default());
    let gateway = network.subnets()[0].gateway.unwrap();
    assert!(pings(&guest.namespace, gateway, PATIENCE));
    spec.name = "larger".to_owned();
    spec.mtu = 65522;
    let error = host.namespace.enter(|| host.networks.create(&spec));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("65522") && error.contains("65521"),
        "{error}"
    );
}

#[test]
fn no_guest_has_the_gateway_s_mac_address() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&NetworkSpec::new("masked"));
    let bridge = network.id().bridge();
    let shown = format!("ip -o link show {bridge} | sed 's/.*ether //; s/ .*//'");
    let mac = host.namespace.enter(|| sh(&shown));
    let spec = EndpointSpec {
        mac: Some(mac.trim().parse().unwrap()),
        ..EndpointSpec::default()
    };
    let error = host.namespace.enter(|| network.attach(&spec)).unwrap_err();
    assert!(matches!(error, Error::MacTaken(_)), "{error}");
}
