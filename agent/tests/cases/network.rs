//! The machine's interfaces: in these tests two ends of one cable.

use std::net::IpAddr;
use std::process::Command;

use hull_agent_protocol::{Address, ExitStatus, Interface, Network, Place, Start};

use crate::common::{Note, Outcome, start};
use crate::sandbox::{Machine, finish};

/// A machine with two network devices.
fn machine() -> Machine {
    let mut machine = Machine::new();
    assert_eq!(machine.session.next(), Note::Ready);
    ip(
        &machine,
        &[
            "link", "add", "one", "type", "veth", "peer", "name", "other",
        ],
    );
    machine
}

/// What `ip` says in the machine.
fn ip(machine: &Machine, arguments: &[&str]) -> String {
    let output = Command::new("nsenter")
        .args(["--net", "--target", &machine.agent.id().to_string(), "ip"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{output:?}");
    text
}

fn address(text: &str) -> Address {
    let (ip, prefix) = text.split_once('/').unwrap();
    Address {
        ip: ip.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
    }
}

fn gateway(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn interface(device: u32, name: &str, addresses: &[&str]) -> Interface {
    Interface {
        device,
        name: name.into(),
        mac: [2, 0x42, 0, 0, 0, u8::try_from(device).unwrap() + 1],
        mtu: 1400,
        addresses: addresses.iter().map(|one| address(one)).collect(),
        gateways: Vec::new(),
    }
}

fn change(machine: &Machine, network: Network) -> Note {
    let mut session = machine.another();
    session.end.network(network).unwrap();
    session.answer()
}

pub(crate) fn interfaces_come_change_and_go() {
    let mut machine = machine();
    let mut first = interface(0, "eth0", &["10.9.0.2/24", "fd00:9::2/64"]);
    first.gateways = vec![gateway("10.9.0.1"), gateway("fd00:9::1")];
    let mut configure = machine.configure();
    configure.interfaces = vec![first.clone()];
    machine.session.end.configure(configure).unwrap();
    machine
        .session
        .end
        .start(start(&["sh", "-c", "echo up; cat"]))
        .unwrap();
    machine.session.stdout_with("up");

    let addresses = ip(&machine, &["address", "show", "eth0"]);
    for part in [
        "mtu 1400",
        "link/ether 02:42:00:00:00:01",
        "inet 10.9.0.2/24 brd 10.9.0.255",
        "inet6 fd00:9::2/64",
        "inet6 fe80::42:ff:fe00:1/64",
        "UP",
    ] {
        assert!(addresses.contains(part), "{part}: {addresses}");
    }
    assert!(!addresses.contains("tentative"), "{addresses}");
    assert!(ip(&machine, &["route"]).contains("default via 10.9.0.1 dev eth0"));
    assert!(ip(&machine, &["-6", "route"]).contains("default via fd00:9::1 dev eth0"));

    // A second network is connected.
    let second = interface(1, "eth1", &["10.9.1.2/24"]);
    let network = Network {
        interfaces: vec![first.clone(), second.clone()],
        hosts: Some("10.9.1.2 me\n".into()),
        resolv_conf: Some("nameserver 10.9.1.1\n".into()),
    };
    assert_eq!(change(&machine, network), Note::Done);
    let all = ip(&machine, &["-o", "address"]);
    assert!(
        all.contains("eth1    inet 10.9.1.2/24") && all.contains("eth0    inet 10.9.0.2/24"),
        "{all}"
    );
    assert!(!all.contains("eth1    inet6"), "it has no IPv6: {all}");
    let mut session = machine.another();
    let beside = start(&["cat", "/etc/hosts", "/etc/resolv.conf"]);
    session
        .end
        .start(Start {
            place: Place::Beside,
            ..beside
        })
        .unwrap();
    assert_eq!(finish(&mut session).0, "10.9.1.2 me\nnameserver 10.9.1.1\n");

    // The second takes the first one's name and becomes the way out.
    let mut renamed = Interface {
        name: "eth0".into(),
        ..second
    };
    renamed.gateways = vec![gateway("10.9.1.1")];
    let network = Network {
        interfaces: vec![renamed],
        ..Network::default()
    };
    assert_eq!(change(&machine, network.clone()), Note::Done);
    let all = ip(&machine, &["-o", "address"]);
    assert!(
        all.contains("eth0    inet 10.9.1.2/24")
            && !all.contains("10.9.0.2")
            && !all.contains("fd00:9"),
        "{all}"
    );
    assert_eq!(
        ip(&machine, &["route", "show", "default"])
            .trim()
            .split(" linkdown")
            .next(),
        Some("default via 10.9.1.1 dev eth0")
    );
    assert_eq!(
        change(&machine, network),
        Note::Done,
        "nothing is to be done"
    );

    // And the last one is disconnected.
    assert_eq!(change(&machine, Network::default()), Note::Done);
    assert!(!ip(&machine, &["-o", "address"]).contains("10.9."));
    machine
        .session
        .end
        .close(hull_agent_protocol::Stream::Stdin);
    assert_eq!(
        machine.session.outcome(),
        Outcome::Exited(ExitStatus::Code(0))
    );
}

pub(crate) fn what_cannot_be_set_is_said_and_the_rest_goes_on() {
    let mut machine = machine();
    machine.session.end.configure(machine.configure()).unwrap();
    machine
        .session
        .end
        .start(start(&["sh", "-c", "echo up; cat"]))
        .unwrap();
    machine.session.stdout_with("up");
    let refused = |machine: &Machine, interface: Interface| {
        let network = Network {
            interfaces: vec![interface],
            ..Network::default()
        };
        match change(machine, network) {
            Note::Over(Outcome::Failed(failure)) => failure.message,
            other => panic!("{other:?}"),
        }
    };
    let why = refused(&machine, interface(7, "eth7", &[]));
    assert!(
        why.contains("no network device 7") && why.contains("has 2"),
        "{why}"
    );
    let mut far = interface(0, "eth0", &["10.9.0.2/24"]);
    far.gateways = vec![gateway("192.0.2.1")];
    let why = refused(&machine, far);
    assert!(
        why.contains("default gateway 192.0.2.1 of eth0: network is unreachable"),
        "{why}"
    );
    let mut loud = interface(0, "eth0", &[]);
    loud.mac = [1, 0, 0, 0, 0, 1];
    assert!(refused(&machine, loud).contains("set up eth0"));
    // Whatever was left half done is put right.
    let network = Network {
        interfaces: vec![interface(0, "eth0", &["10.9.0.3/24"])],
        ..Network::default()
    };
    assert_eq!(change(&machine, network), Note::Done);
    let all = ip(&machine, &["-o", "address", "show", "eth0"]);
    assert!(
        all.contains("10.9.0.3/24") && !all.contains("10.9.0.2/"),
        "{all}"
    );
}
