//! Published ports.

use std::net::UdpSocket;

use super::super::{
    Addressing, EndpointSpec, HostPorts, NetworkSpec, Protocol, Publication, Published,
};
use super::*;

fn publication(
    protocol: Protocol,
    host: HostPorts,
    guest: std::ops::RangeInclusive<u16>,
) -> Publication {
    Publication {
        protocol,
        address: None,
        host,
        guest,
    }
}

fn publishing(publish: Vec<Publication>) -> EndpointSpec {
    EndpointSpec {
        publish,
        ..EndpointSpec::default()
    }
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("published");
    spec.ipv6 = Addressing::Auto;
    let network = host.create(&spec);
    let ports = publication(Protocol::Tcp, HostPorts::Exact(8080..=8082), 80..=82);
    let guest = host.guest(&network, &publishing(vec![ports]));
    for (port, name) in [(80, "first"), (81, "second"), (82, "third")] {
        guest.serve(port, name);
    }
    // The world is seen as it is.
    assert_eq!(
        ask(&host.world, at("198.51.100.1", 8080)).unwrap(),
        "first 198.51.100.2"
    );
    assert_eq!(
        ask(&host.world, at("198.51.100.1", 8082)).unwrap(),
        "third 198.51.100.2"
    );
    assert_eq!(
        ask(&host.world, at("2001:db8::1", 8081)).unwrap(),
        "second 2001:db8::2"
    );
    // So is the host, but for its loopback, which stands behind the gateway.
    assert_eq!(
        ask(&host.namespace, at("198.51.100.1", 8081)).unwrap(),
        "second 198.51.100.1"
    );
    let gateway = network.subnets()[0].gateway.unwrap();
    assert_eq!(
        ask(&host.namespace, at("127.0.0.1", 8080)).unwrap(),
        format!("first {gateway}")
    );
    // From ::1 it is refused at once, so that clients go on to 127.0.0.1.
    let refused = ask(&host.namespace, at("::1", 8080)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    // A neighbour, the guest itself, and a guest of another network come by the host's address, too.
    let neighbour = host.guest(&network, &EndpointSpec::default());
    assert_eq!(
        ask(&neighbour.namespace, at("198.51.100.1", 8080)).unwrap(),
        format!("first {gateway}")
    );
    // (The guest itself only where bridged frames do not go through the IP hooks: a bridge does not send back to a port.)
    host.namespace
        .enter(|| sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0 || true"));
    assert_eq!(
        ask(&guest.namespace, at("198.51.100.1", 8080)).unwrap(),
        format!("first {gateway}")
    );
    let other = host.create(&NetworkSpec::new("other"));
    let stranger = host.guest(&other, &EndpointSpec::default());
    assert!(ask(&stranger.namespace, at("198.51.100.1", 8080)).is_ok());
    // What is not published is not reached.
    let refused = ask(&host.world, at("198.51.100.1", 8083)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn udp_is_published_and_a_new_guest_gets_the_packets_of_an_old_flow() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&NetworkSpec::new("udp"));
    let spec = publishing(vec![publication(
        Protocol::Udp,
        HostPorts::Exact(5353..=5353),
        53..=53,
    )]);
    let client = host
        .world
        .enter(|| UdpSocket::bind("198.51.100.2:4000"))
        .unwrap();
    let local = host
        .namespace
        .enter(|| UdpSocket::bind("127.0.0.1:4000"))
        .unwrap();
    for name in [b"one", b"two"] {
        let guest = host.guest(&network, &spec);
        let server = guest
            .namespace
            .enter(|| UdpSocket::bind("0.0.0.0:53"))
            .unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        for (socket, to) in [(&client, "198.51.100.1"), (&local, "127.0.0.1")] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(b"hello", at(to, 5353)).unwrap();
            let mut buffer = [0; 16];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"hello");
            server.send_to(name, from).unwrap();
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&name[..], at(to, 5353)));
        }
        let endpoint = guest.end();
        host.namespace.enter(|| endpoint.detach()).unwrap();
    }
}

#[test]
fn who_sent_to_a_port_before_it_was_published_reaches_the_guest_too() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&NetworkSpec::new("early"));
    let client = host
        .world
        .enter(|| UdpSocket::bind("198.51.100.2:4000"))
        .unwrap();
    // The host remembers where this flow goes for as long as it goes on. What is for somebody else's port stays as it is.
    let other = host
        .namespace
        .enter(|| UdpSocket::bind("198.51.100.1:5454"))
        .unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    for port in [5353, 5454] {
        let _ = client.send_to(b"early", at("198.51.100.1", port));
    }
    assert!(other.recv_from(&mut [0; 16]).is_ok());
    let spec = publishing(vec![publication(
        Protocol::Udp,
        HostPorts::Exact(5353..=5353),
        53..=53,
    )]);
    let guest = host.guest(&network, &spec);
    let server = guest
        .namespace
        .enter(|| UdpSocket::bind("0.0.0.0:53"))
        .unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    // What the first one was answered is told to the second.
    while client.send_to(b"late", at("198.51.100.1", 5353)).is_err() {}
    let mut buffer = [0; 16];
    let (length, _) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"late");
    client.send_to(b"more", at("198.51.100.1", 5454)).unwrap();
    assert!(other.recv_from(&mut buffer).is_ok());
}

#[test]
fn a_port_of_one_address_is_not_one_of_others() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&NetworkSpec::new("local"));
    let mut local = publication(Protocol::Tcp, HostPorts::Exact(8080..=8080), 80..=80);
    local.address = Some("127.0.0.1".parse().unwrap());
    let mut guest = host.guest(&network, &publishing(vec![local.clone()]));
    guest.serve(80, "guest");
    assert!(ask(&host.namespace, at("127.0.0.1", 8080)).is_ok());
    assert!(ask(&host.world, at("198.51.100.1", 8080)).is_err());
    // More can be published later, such as the same port at another address.
    local.address = Some("198.51.100.1".parse().unwrap());
    let endpoint = guest.endpoint.as_mut().unwrap();
    let published = host.namespace.enter(|| endpoint.publish(&[local])).unwrap();
    assert_eq!(published[0].to, guest.address(false));
    assert!(ask(&host.world, at("198.51.100.1", 8080)).is_ok());
    assert_eq!(guest.endpoint().published().len(), 2);
}

#[test]
fn taken_ports_say_by_whom_and_leave_nothing_behind() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&NetworkSpec::new("taken"));
    let exact = |port| publication(Protocol::Tcp, HostPorts::Exact(port..=port), 80..=80);
    let first = host.attach(&network, &publishing(vec![exact(8080)]));
    let program = host
        .namespace
        .enter(|| TcpListener::bind("127.0.0.1:9090"))
        .unwrap();
    let before = host.all();
    for (port, by) in [
        (8080, "port is already allocated"),
        (9090, "another program"),
    ] {
        let error = host
            .namespace
            .enter(|| network.attach(&publishing(vec![exact(port)])))
            .unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains(&port.to_string()) && said.contains(by),
            "{said}"
        );
    }
    assert_eq!(host.all(), before);
    // Nor does a program get a port that is published.
    let error = host
        .namespace
        .enter(|| TcpListener::bind("0.0.0.0:8080"))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    // The same number is free with the other protocol, and the next one of a range is taken.
    let udp = publication(Protocol::Udp, HostPorts::Exact(8080..=8080), 80..=80);
    let range = publication(Protocol::Tcp, HostPorts::FirstFree(8080..=8090), 80..=80);
    let random = publication(Protocol::Tcp, HostPorts::Random, 80..=81);
    let second = host.attach(&network, &publishing(vec![udp, range, random]));
    let ports: Vec<&Published> = second.published().iter().collect();
    assert_eq!((ports[0].host, ports[1].host), (8080, 8081));
    assert!(ports[2].host >= 1024 && ports[3].host >= 1024 && ports[2].host != ports[3].host);
    // What is given back is free.
    host.namespace.enter(|| first.detach()).unwrap();
    host.attach(&network, &publishing(vec![exact(8080)]));
    drop(program);
}
