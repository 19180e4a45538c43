//! The world outside.

use super::super::{Addressing, EndpointSpec, NetworkSpec, SubnetSpec};
use super::*;

#[test]
fn what_leaves_has_the_hosts_address() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("nat");
    spec.ipv6 = Addressing::Auto;
    let network = host.create(&spec);
    let guest = host.guest(&network, &EndpointSpec::default());
    serve(&host.world, 80, "world");
    for (world, own) in [
        ("198.51.100.2", "198.51.100.1"),
        ("2001:db8::2", "2001:db8::1"),
    ] {
        let world: IpAddr = world.parse().unwrap();
        assert!(pings(&guest.namespace, world, PATIENCE), "{world}");
        let said = ask(&guest.namespace, (world, 80)).unwrap();
        assert_eq!(said, format!("world {own}"));
    }
}

#[test]
fn a_filter_of_the_host_that_is_in_the_way_is_named_with_what_helps() {
    let Some(host) = Host::new() else { return };
    let obstacles = || host.namespace.enter(|| host.networks.obstacles()).unwrap();
    let network = host.create(&NetworkSpec::new("blocked"));
    let guest = host.guest(&network, &EndpointSpec::default());
    assert!(obstacles().is_empty());
    let drop = "nft add table ip fw; nft add chain ip fw f '{ type filter hook forward priority 0; policy drop; }'";
    host.namespace.enter(|| sh(drop));
    let world: IpAddr = "198.51.100.2".parse().unwrap();
    assert!(!pings(&guest.namespace, world, SILENCE));
    let said = obstacles().join("\n");
    assert!(said.contains("chain ip fw f"), "{said}");
    // What it says helps.
    let (_, advice) = said.split_once("bridges (").unwrap();
    let advice = advice
        .trim_end_matches(')')
        .replace('"', "\\\"")
        .replace('*', "\\*");
    host.namespace.enter(|| sh(&advice));
    assert!(pings(&guest.namespace, world, PATIENCE));
}

#[test]
fn without_masquerade_the_world_sees_the_guest() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("routed");
    spec.masquerade = false;
    spec.ipv4 = Addressing::Subnet(SubnetSpec::new(
        "10.7.0.0/24".parse::<ipnet::IpNet>().unwrap(),
    ));
    let network = host.create(&spec);
    let guest = host.guest(&network, &EndpointSpec::default());
    serve(&host.world, 80, "world");
    host.world
        .enter(|| sh("ip route add 10.7.0.0/24 via 198.51.100.1"));
    let world: SocketAddr = "198.51.100.2:80".parse().unwrap();
    assert_eq!(ask(&guest.namespace, world).unwrap(), "world 10.7.0.2");
}

#[test]
fn large_frames_and_small_mtus_arrive() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("small");
    spec.mtu = 1280;
    let network = host.create(&spec);
    let guest = host.guest(&network, &EndpointSpec::default());
    let listener = host
        .world
        .enter(|| TcpListener::bind("0.0.0.0:80"))
        .unwrap();
    let sent: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
    let data = sent.clone();
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(&data).unwrap());
    let world: SocketAddr = "198.51.100.2:80".parse().unwrap();
    let mut stream = guest.namespace.enter(|| TcpStream::connect(world)).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    server.join().unwrap();
    assert!(got == sent);
}
