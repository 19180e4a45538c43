//! What is left behind, and what is refused.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::super::{
    Addressing, EndpointSpec, Error, HostPorts, NetworkSpec, Protocol, Publication, Recovered,
    SubnetSpec,
};
use super::*;

fn web() -> EndpointSpec {
    EndpointSpec {
        queues: 4,
        publish: vec![Publication {
            protocol: Protocol::Tcp,
            address: None,
            host: HostPorts::Exact(8080..=8080),
            guest: 80..=80,
        }],
        ..EndpointSpec::default()
    }
}

/// Somebody else's rules, in tables, chains and priorities where Hull's are, too.
const FOREIGN: &str = "
    nft add table inet other
    nft add chain inet other forward '{ type filter hook forward priority filter; }'
    nft add rule inet other forward tcp dport 25 counter drop
    nft add table ip nat
    nft add chain ip nat PREROUTING '{ type nat hook prerouting priority dstnat; }'
    nft add rule ip nat PREROUTING tcp dport 2222 dnat to 198.51.100.2:22
    nft add table bridge other
";

#[test]
fn all_is_undone_and_nothing_foreign_is_touched() {
    let Some(host) = Host::new() else { return };
    host.namespace.enter(|| sh(FOREIGN));
    let before = host.all();
    let network = host.create(&NetworkSpec::new("short"));
    let endpoint = host.attach(&network, &web());
    assert_ne!(host.all(), before);
    let in_use = host
        .namespace
        .enter(|| network.clone().remove())
        .unwrap_err();
    assert!(
        matches!(in_use, Error::InUse { endpoints: 1, .. }),
        "{in_use}"
    );
    host.namespace.enter(|| endpoint.detach()).unwrap();
    host.namespace.enter(|| network.remove()).unwrap();
    assert_eq!(host.all(), before);
    assert_eq!(
        fs::read_dir(host.directory.path()).unwrap().count(),
        1,
        "only the lock is left"
    );
}

/// Recovers until so many networks are idle: a process that another test is just starting has, between fork and exec, a
/// copy of every lock.
fn recover(host: &Host, idle: usize) -> Recovered {
    let mut all = Recovered::default();
    eventually("all is recovered", || {
        let recovered = host.namespace.enter(|| host.networks.recover()).unwrap();
        all.endpoints.extend(recovered.endpoints);
        all.idle.extend(recovered.idle);
        all.idle.len() >= idle
    });
    all
}

#[test]
fn an_idle_network_stays_up_for_whoever_is_about_to_use_it() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&NetworkSpec::new("again"));
    for wanted in ["again", network.id().as_str()] {
        let endpoint = host.attach(&network, &web());
        host.namespace.enter(|| endpoint.detach()).unwrap();
        let kept = host
            .namespace
            .enter(|| host.networks.recover_for(&[wanted]))
            .unwrap();
        assert_eq!(kept, Recovered::default(), "{wanted}");
        let bridge = format!("\"{}\"", network.id().bridge());
        assert!(host.all().contains(&bridge), "its rules are gone: {wanted}");
    }
    let other = host
        .namespace
        .enter(|| host.networks.recover_for(&["other"]))
        .unwrap();
    assert_eq!(other.idle, [network.id().clone()]);
}

#[test]
#[allow(clippy::zombie_processes)]
fn what_a_killed_owner_left_is_removed() {
    let Some(host) = Host::new() else { return };
    let before = host.all();
    let network = host.create(&NetworkSpec::new("crash"));
    let idle = host.create(&NetworkSpec::new("idle"));
    let mut endpoint = host.attach(&network, &web());
    let survivor = host.attach(&idle, &EndpointSpec::default());

    // Another process owns the endpoint with its lock and its queues, as a microVM does, and this one forgets it.
    let mut inherited = endpoint.take_queues();
    inherited.push(endpoint.ownership().unwrap().try_clone_to_owned().unwrap());
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Stdio::null());
    let numbers: Vec<i32> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    let keep = move || {
        for &number in &numbers {
            // SAFETY: the descriptors are open until after the child was started.
            let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: only system calls.
    unsafe { command.pre_exec(keep) };
    let mut owner = command.spawn().unwrap();
    let id = endpoint.id().clone();
    drop(inherited);
    drop(endpoint);

    let recovered = host.namespace.enter(|| host.networks.recover()).unwrap();
    assert!(
        recovered.endpoints.is_empty() && recovered.idle.is_empty(),
        "{recovered:?}"
    );
    let mut adopted = host.namespace.enter(|| network.adopt(&id)).unwrap();
    assert_eq!(adopted.published().len(), 1);
    assert!(adopted.take_queues().is_empty());
    drop(adopted);

    owner.kill().unwrap();
    owner.wait().unwrap();
    let recovered = recover(&host, 1);
    assert_eq!(recovered.endpoints, vec![id.clone()]);
    assert_eq!(recovered.idle, vec![network.id().clone()]);
    assert!(matches!(
        host.namespace.enter(|| network.adopt(&id)),
        Err(Error::NotFound(_))
    ));
    let left = host.all();
    assert!(
        !left.contains(id.as_str()) && !left.contains(&network.id().bridge()),
        "{left}"
    );
    assert!(left.contains(&survivor.tap()), "{left}");

    // The network comes up again with its next endpoint, which may have the same port.
    let again = host.attach(&network, &web());
    assert!(host.all().contains(&again.tap()));
    drop((again, survivor));
    let recovered = recover(&host, 2);
    assert_eq!((recovered.endpoints.len(), recovered.idle.len()), (2, 2));
    assert_eq!(host.all(), before);
    // There they are, still.
    assert_eq!(
        host.namespace.enter(|| host.networks.list()).unwrap().len(),
        2
    );
    host.namespace
        .enter(|| network.remove().and(idle.remove()))
        .unwrap();
    assert_eq!(host.all(), before);
}

#[test]
fn addresses_and_names_of_others_are_refused() {
    let Some(host) = Host::new() else { return };
    let before = host.all();
    let subnet = |name: &str, net: &str| {
        let mut spec = NetworkSpec::new(name);
        spec.ipv4 = Addressing::Subnet(SubnetSpec::new(net.parse::<ipnet::IpNet>().unwrap()));
        spec
    };
    let refuse = |spec: &NetworkSpec, why: &str| {
        let error = host
            .namespace
            .enter(|| host.networks.create(spec))
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    };
    refuse(
        &subnet("x", "198.51.100.128/25"),
        "the host's route to 198.51.100.0/24",
    );
    refuse(&NetworkSpec::new("no/name"), "cannot be a network's name");
    refuse(
        &NetworkSpec {
            mtu: 100,
            ..NetworkSpec::new("x")
        },
        "MTU 100",
    );
    refuse(
        &NetworkSpec {
            ipv4: Addressing::Off,
            ..NetworkSpec::new("x")
        },
        "neither",
    );
    refuse(
        &NetworkSpec {
            enable_forwarding: false,
            ..NetworkSpec::new("x")
        },
        "sysctl -w net.ipv4.ip_forward=1",
    );
    assert_eq!(host.all(), before);

    let network = host.create(&subnet("first", "10.9.0.0/24"));
    refuse(&subnet("second", "10.0.0.0/8"), "network \"first\"");
    refuse(&NetworkSpec::new("first"), "already exists");
    let found = host
        .namespace
        .enter(|| host.networks.find("first"))
        .unwrap();
    assert_eq!(found.id(), network.id());
    let unknown = host
        .namespace
        .enter(|| host.networks.find("none"))
        .unwrap_err();
    assert!(unknown.to_string().contains("network none not found"));

    let wanted = EndpointSpec {
        addresses: vec!["10.9.0.77".parse().unwrap()],
        mac: Some("02:00:00:00:00:77".parse().unwrap()),
        ..EndpointSpec::default()
    };
    let endpoint = host.attach(&network, &wanted);
    assert_eq!(endpoint.addresses()[0].to_string(), "10.9.0.77/24");
    let refuse = |spec: &EndpointSpec, why: &str| {
        let error = host
            .namespace
            .enter(|| network.attach(spec))
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    };
    refuse(&wanted, "MAC address");
    refuse(
        &EndpointSpec {
            mac: None,
            ..wanted
        },
        "another endpoint has it",
    );
    let foreign = vec!["10.8.0.1".parse().unwrap()];
    refuse(
        &EndpointSpec {
            addresses: foreign,
            ..EndpointSpec::default()
        },
        "no host",
    );
    refuse(
        &EndpointSpec {
            queues: 0,
            ..EndpointSpec::default()
        },
        "0 queues",
    );
}

#[test]
fn without_the_right_to_it_the_error_says_what_to_do() {
    let Some(host) = Host::new() else { return };
    let error = host.namespace.enter(|| {
        let none = caps_of_nobody();
        none.map(|()| host.networks.create(&NetworkSpec::new("x")).unwrap_err())
    });
    let error = error.unwrap().to_string();
    assert!(
        error.contains("run as root") && error.contains("user-mode"),
        "{error}"
    );
    assert_eq!(fs::read_dir(host.directory.path()).unwrap().count(), 1);
}

/// Takes all capabilities of the calling thread, but not its files.
fn caps_of_nobody() -> io::Result<()> {
    use rustix::thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, set_capabilities,
        set_capabilities_secure_bits,
    };
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    // A program of root would get them back.
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    set_capabilities_secure_bits(bits)?;
    Ok(set_capabilities(None, sets)?)
}
