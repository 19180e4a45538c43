use super::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// At the loopback only: tests open no port to the world.
fn local(host: HostPorts, guest: RangeInclusive<u16>) -> Publication {
    Publication {
        protocol: Protocol::Tcp,
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host,
        guest,
    }
}

fn market<'a>(taken: &'a [Published]) -> Market<'a> {
    Market {
        by_kernel: true,
        to: &[V4],
        taken,
    }
}

#[test]
fn random_ports_are_free_ones_one_for_each_of_the_guests() {
    let reserved = market(&[])
        .reserve(&[local(HostPorts::Random, 80..=82)])
        .unwrap();
    let guests: Vec<u16> = reserved.ports.iter().map(|port| port.guest).collect();
    assert_eq!(guests, [80, 81, 82]);
    assert!(
        reserved
            .ports
            .iter()
            .all(|port| port.host > 0 && port.to == V4)
    );
    assert_eq!(reserved.sockets.len(), 3);
}

#[test]
fn a_port_is_held_until_its_socket_is_closed() {
    let first = market(&[])
        .reserve(&[local(HostPorts::Random, 80..=80)])
        .unwrap();
    let port = first.ports[0].host;
    let again = [local(HostPorts::Exact(port..=port), 80..=80)];
    let error = market(&[]).reserve(&again).unwrap_err();
    assert!(matches!(error, Error::PortTaken { .. }), "{error}");
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    assert_eq!(listener.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(first);
    let reserved = market(&[]).reserve(&again).unwrap();
    // A port of an endpoint is taken also when its socket is not there, as after the restart of its owner.
    let ports = reserved.ports.clone();
    drop(reserved);
    let error = market(&ports).reserve(&again).unwrap_err().to_string();
    assert!(error.contains("10.0.0.2"), "{error}");
}

#[test]
fn ports_that_make_no_sense_are_refused_with_a_reason() {
    let refuse = |publication: Publication, why: &str| {
        let error = market(&[]).reserve(&[publication]).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refuse(local(HostPorts::Exact(8000..=8001), 80..=80), "not as many");
    refuse(
        local(HostPorts::FirstFree(8000..=8001), 80..=81),
        "one of several",
    );
    refuse(
        local(HostPorts::Exact(0..=0), 80..=80),
        "no ports of the host",
    );
    refuse(local(HostPorts::Random, 0..=0), "no ports of a guest");
    #[allow(clippy::reversed_empty_ranges)]
    refuse(local(HostPorts::Random, 90..=80), "no ports of a guest");
    let mut at = local(HostPorts::Random, 80..=80);
    at.address = Some("::1".parse().unwrap());
    refuse(at.clone(), "publish them at 127.0.0.1");
    at.address = Some("2001:db8::1".parse().unwrap());
    refuse(at.clone(), "no address of that family");
    at.address = Some("192.0.2.1".parse().unwrap());
    refuse(at, "the host does not have this address");
}

#[test]
fn all_addresses_and_one_of_them_are_in_conflict_only_with_one_protocol_and_family() {
    let port = |protocol, address: &str| Published {
        protocol,
        address: address.parse().unwrap(),
        host: 80,
        to: V4,
        guest: 80,
    };
    let any = port(Protocol::Tcp, "0.0.0.0");
    assert!(conflict(&any, &port(Protocol::Tcp, "127.0.0.1")));
    assert!(!conflict(&any, &port(Protocol::Udp, "127.0.0.1")));
    assert!(!conflict(&any, &port(Protocol::Tcp, "::")));
    let one = port(Protocol::Tcp, "127.0.0.1");
    assert!(conflict(&one, &one) && !conflict(&one, &port(Protocol::Tcp, "127.0.0.2")));
}
