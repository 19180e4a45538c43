//! Who reaches whom.

use super::super::{Addressing, EndpointSpec, NetworkSpec, Protocol, Service};
use super::*;

#[test]
fn guests_of_a_network_talk_to_one_another_and_ping_their_gateway() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("talk");
    spec.ipv6 = Addressing::Auto;
    let network = host.create(&spec);
    let a = host.guest(&network, &EndpointSpec::default());
    let b = host.guest(&network, &EndpointSpec::default());
    b.serve(80, "b");
    for is_v6 in [false, true] {
        assert!(pings(&a.namespace, b.address(is_v6), PATIENCE));
        let said = ask(&a.namespace, (b.address(is_v6), 80)).unwrap();
        assert_eq!(said, format!("b {}", a.address(is_v6)));
        for subnet in network
            .subnets()
            .iter()
            .filter(|subnet| subnet.net.addr().is_ipv6() == is_v6)
        {
            assert!(pings(&a.namespace, subnet.gateway.unwrap(), PATIENCE));
        }
    }
    assert_eq!(host.namespace.enter(|| a.endpoint().spoofed()).unwrap(), 0);
    let living = host.namespace.enter(|| network.endpoints()).unwrap();
    assert_eq!(living.len(), 2);
}

#[test]
fn guests_that_may_not_talk_reach_the_world_but_not_one_another() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("silent");
    spec.inter_container = false;
    let network = host.create(&spec);
    let a = host.guest(&network, &EndpointSpec::default());
    let b = host.guest(&network, &EndpointSpec::default());
    b.serve(80, "b");
    serve(&host.world, 80, "world");
    assert!(!pings(&a.namespace, b.address(false), SILENCE));
    assert!(
        ask(
            &a.namespace,
            "198.51.100.2:80".parse::<SocketAddr>().unwrap()
        )
        .is_ok()
    );
    // Not by way of the gateway either.
    let gateway = network.subnets()[0].gateway.unwrap();
    let to = b.address(false);
    a.namespace
        .enter(|| sh(&format!("ip route add {to}/32 via {gateway}")));
    let before = host.refused().0;
    assert!(ask_within(&a.namespace, (to, 80), SILENCE).is_err());
    assert!(host.refused().0 > before);
}

#[test]
fn networks_do_not_reach_one_another() {
    let Some(host) = Host::new() else { return };
    let (one, two) = (
        host.create(&NetworkSpec::new("one")),
        host.create(&NetworkSpec::new("two")),
    );
    let a = host.guest(&one, &EndpointSpec::default());
    let b = host.guest(&two, &EndpointSpec::default());
    b.serve(80, "b");
    let before = host.refused().0;
    assert!(ask_within(&a.namespace, (b.address(false), 80), SILENCE).is_err());
    assert!(!pings(&a.namespace, b.address(false), SILENCE));
    assert!(host.refused().0 > before);
    // Nor does the world reach a guest that publishes nothing.
    let (to, gateway) = (b.address(false), "198.51.100.1");
    host.world
        .enter(|| sh(&format!("ip route add {to}/32 via {gateway}")));
    assert!(ask_within(&host.world, (to, 80), SILENCE).is_err());
    // The host itself does.
    assert!(ask(&host.namespace, (to, 80)).is_ok());
}

#[test]
fn nothing_leaves_an_internal_network() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("internal");
    spec.internal = true;
    let network = host.create(&spec);
    let a = host.guest(&network, &EndpointSpec::default());
    let b = host.guest(&network, &EndpointSpec::default());
    b.serve(80, "b");
    serve(&host.world, 80, "world");
    assert!(a.endpoint().gateways().is_empty());
    assert!(ask(&a.namespace, (b.address(false), 80)).is_ok());
    let gateway = network.subnets()[0].gateway.unwrap();
    a.namespace
        .enter(|| sh(&format!("ip route add default via {gateway}")));
    // Another network has turned forwarding on.
    host.create(&NetworkSpec::new("other"));
    let before = host.refused().0;
    let world: SocketAddr = "198.51.100.2:80".parse().unwrap();
    assert!(ask_within(&a.namespace, world, SILENCE).is_err());
    assert!(host.refused().0 > before);
}

#[test]
fn of_the_host_a_guest_reaches_only_what_was_named() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("services");
    spec.services.push(Service {
        protocol: Protocol::Tcp,
        port: 53,
    });
    let network = host.create(&spec);
    let guest = host.guest(&network, &EndpointSpec::default());
    for port in [22, 53] {
        serve(&host.namespace, port, "host");
    }
    let gateway = network.subnets()[0].gateway.unwrap();
    assert!(ask(&guest.namespace, (gateway, 53)).is_ok());
    let before = host.refused().1;
    assert!(ask_within(&guest.namespace, (gateway, 22), SILENCE).is_err());
    // Not at another of the host's addresses.
    let other: IpAddr = "198.51.100.1".parse().unwrap();
    assert!(ask_within(&guest.namespace, (other, 53), SILENCE).is_err());
    let after = host.refused().1;
    assert!(after >= before + 2);
    // Nor at its loopback, to which the bridge would let it.
    guest.namespace.enter(|| {
        sh("ip addr del 127.0.0.1/8 dev lo; sysctl -qw net.ipv4.conf.eth0.route_localnet=1");
        sh(&format!("ip route add 127.0.0.0/8 via {gateway} dev eth0"));
    });
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(ask_within(&guest.namespace, (loopback, 22), SILENCE).is_err());
    assert!(host.refused().1 > after);
}
