//! User-mode networking, without interfaces on the host.

use std::os::unix::net::UnixStream;

use super::super::{
    EndpointSpec, Error, HostPorts, NetworkSpec, Passt, PasstSpec, Protocol, Publication,
};
use super::*;

const VNET_HEADER: usize = 10;

fn spec() -> PasstSpec {
    PasstSpec {
        mac: Some("02:00:00:00:00:02".parse().unwrap()),
        addresses: vec!["10.5.0.2/24".parse().unwrap()],
        gateways: vec!["10.5.0.1".parse().unwrap()],
        mtu: Some(1500),
        publish: vec![Publication {
            protocol: Protocol::Tcp,
            address: None,
            host: HostPorts::Exact(8080..=8080),
            guest: 80..=80,
        }],
        ..PasstSpec::default()
    }
}

/// Carries frames between passt's socket, where their length stands before them, and a TAP, where a header does.
fn carry(socket: UnixStream, tap: OwnedFd) -> [JoinHandle<()>; 2] {
    let (mut from, mut to) = (socket.try_clone().unwrap(), socket);
    let out = tap.try_clone().unwrap();
    let inwards = thread::spawn(move || {
        let mut length = [0; 4];
        while from.read_exact(&mut length).is_ok() {
            let mut frame = vec![0; VNET_HEADER + u32::from_be_bytes(length) as usize];
            from.read_exact(&mut frame[VNET_HEADER..]).unwrap();
            let _ = rustix::io::write(&out, &frame);
        }
    });
    let outwards = thread::spawn(move || {
        let mut frame = vec![0; 70_000];
        loop {
            poll(&mut [PollFd::new(&tap, PollFlags::IN)], None).unwrap();
            while let Ok(length) = rustix::io::read(&tap, &mut frame) {
                let length = length - VNET_HEADER;
                let prefix = u32::try_from(length).unwrap().to_be_bytes();
                let whole = [&prefix[..], &frame[VNET_HEADER..][..length]].concat();
                if to.write_all(&whole).is_err() {
                    return;
                }
            }
        }
    });
    [inwards, outwards]
}

#[test]
fn passt_reaches_the_world_and_is_reached_and_ends_with_its_socket() {
    let Some(host) = Host::new() else { return };
    if program::find("passt").is_none() {
        println!("SKIPPED: the program passt is missing");
        return;
    }
    host.namespace
        .enter(|| sh("ip route add default via 198.51.100.2"));
    let mut passt = host.namespace.enter(|| Passt::start(&spec())).unwrap();
    assert_eq!(
        passt
            .published()
            .iter()
            .filter(|port| port.host == 8080)
            .count(),
        1
    );
    let socket = passt.take_socket().unwrap();
    assert!(passt.take_socket().is_none());
    let stream = UnixStream::from(socket);
    let end = stream.try_clone().unwrap();
    let guest = Namespace::new().unwrap();
    let tap = guest.enter(|| {
        let tap = tap::create("eth0", 1, Owner::default()).unwrap().remove(0);
        sh("ip link set eth0 address 02:00:00:00:00:02 mtu 1500 up; ip addr add 10.5.0.2/24 dev eth0");
        sh("ip route add default via 10.5.0.1");
        tap
    });
    let carriers = carry(stream, tap);
    serve(&host.world, 80, "world");
    let world: SocketAddr = "198.51.100.2:80".parse().unwrap();
    assert_eq!(ask(&guest, world).unwrap(), "world 198.51.100.1");
    let listener = guest.enter(|| TcpListener::bind("0.0.0.0:80")).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 5];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(b"guest").unwrap();
            let _ = stream.read(&mut asked);
        }
    });
    for (from, to) in [
        (&host.world, "198.51.100.1:8080"),
        (&host.namespace, "127.0.0.1:8080"),
    ] {
        let to: SocketAddr = to.parse().unwrap();
        let mut stream = from.enter(|| TcpStream::connect(to)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"guest");
    }
    // A port that it has is taken.
    let taken = host.namespace.enter(|| Passt::start(&spec())).unwrap_err();
    assert!(matches!(taken, Error::PortTaken { .. }), "{taken}");
    end.shutdown(Shutdown::Both).unwrap();
    passt.wait().unwrap();
    let [inwards, outwards] = carriers;
    inwards.join().unwrap();
    // The guest's next frame finds nobody.
    assert!(!pings(&guest, "10.5.0.1".parse().unwrap(), SILENCE));
    outwards.join().unwrap();
}

#[test]
fn passt_listens_where_the_kernel_cannot_send_on_from() {
    let Some(host) = Host::new() else { return };
    if program::find("passt").is_none() {
        println!("SKIPPED: the program passt is missing");
        return;
    }
    host.namespace.enter(|| {
        sh("ip route add default via 198.51.100.2; ip route add default via 2001:db8::2")
    });
    let mut spec = spec();
    spec.addresses.push("fd05::2/64".parse().unwrap());
    let loopback = IpAddr::from(std::net::Ipv6Addr::LOCALHOST);
    spec.publish[0].address = Some(loopback);
    let passt = host.namespace.enter(|| Passt::start(&spec)).unwrap();
    assert_eq!(passt.published()[0].address, loopback);
    let to = SocketAddr::new(loopback, 8080);
    assert!(host.namespace.enter(|| TcpStream::connect(to)).is_ok());
}

#[test]
fn what_passt_cannot_do_is_said() {
    let mut network = NetworkSpec::new("x");
    network.inter_container = false;
    assert!(Passt::cannot(&network, &EndpointSpec::default()).is_empty());
    network.internal = true;
    let endpoint = EndpointSpec {
        queues: 2,
        ..EndpointSpec::default()
    };
    let said = Passt::cannot(&network, &endpoint).join("\n");
    assert!(
        said.contains("internal") && said.contains("one queue"),
        "{said}"
    );

    let Some(host) = Host::new() else { return };
    if program::find("passt").is_none() {
        println!("SKIPPED: the program passt is missing");
        return;
    }
    let mut two = spec();
    two.addresses.push("10.6.0.2/24".parse().unwrap());
    let refused = host.namespace.enter(|| Passt::start(&two)).unwrap_err();
    assert!(
        refused.to_string().contains("one address of each family"),
        "{refused}"
    );
}
