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
