//! Networks as guests, neighbours and the world see them, each test in network namespaces of its own.
//!
//! A guest is a namespace with a TAP whose frames are pumped to the endpoint's and back, so that all of a real kernel speaks over
//! the descriptors that a VMM would get.

#![allow(unsafe_code)]

mod filter;
mod isolation;
mod leftovers;
mod outside;
mod passt;
mod ports;
mod recovery;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use tempfile::TempDir;

use super::netlink::Netlink;
use super::{Endpoint, EndpointSpec, Network, NetworkSpec, Networks, Owner, program, tap};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What does not come within this was dropped.
const SILENCE: Duration = Duration::from_millis(300);

/// A network namespace, for as long as this is open.
#[derive(Debug)]
struct Namespace(OwnedFd);

impl Namespace {
    fn new() -> io::Result<Self> {
        let made = thread::scope(|scope| {
            let make = || {
                // SAFETY: the thread has nothing that depends on its network namespace, and ends here.
                unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
                Ok(Self(File::open("/proc/thread-self/ns/net")?.into()))
            };
            scope.spawn(make).join().unwrap()
        });
        if let Ok(namespace) = &made {
            namespace.enter(|| sh("ip link set lo up"));
        }
        made
    }

    /// Does something in it. Sockets made there belong there.
    fn enter<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = || {
                let network = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(self.0.as_fd(), network).unwrap();
                what()
            };
            scope.spawn(inside).join().unwrap()
        })
    }
}

/// A host with Hull's networks, and the world outside: 198.51.100.0/24 and 2001:db8::/64, host 1 and world 2.
#[derive(Debug)]
struct Host {
    namespace: Namespace,
    world: Namespace,
    networks: Networks,
    directory: TempDir,
}

impl Host {
    /// Nothing, and a word about it, where tests cannot make a host.
    fn new() -> Option<Self> {
        for needed in ["ip", "nft"] {
            if program::find(needed).is_none() {
                println!("SKIPPED: the program {needed} is missing");
                return None;
            }
        }
        if !std::path::Path::new("/dev/net/tun").exists() {
            println!("SKIPPED: there is no /dev/net/tun");
            return None;
        }
        let (namespace, world) =
            match Namespace::new().and_then(|host| Ok((host, Namespace::new()?))) {
                Ok(both) => both,
                Err(error) => {
                    println!("SKIPPED: network namespaces cannot be made: {error}");
                    return None;
                }
            };
        // A new namespace has the setting of the first one.
        namespace.enter(|| sh("echo 0 > /proc/sys/net/ipv4/ip_forward"));
        let to = world.0.as_raw_fd();
        namespace.enter(move || {
            let mut peer = LinkMessage::default();
            peer.attributes = vec![
                LinkAttribute::IfName("up0".into()),
                LinkAttribute::NetNsFd(to),
            ];
            let mut veth = LinkMessage::default();
            veth.attributes = vec![
                LinkAttribute::IfName("up0".into()),
                LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Veth),
                    LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
                ]),
            ];
            Netlink::open().unwrap().create_link(veth).unwrap();
        });
        for (side, number) in [(&namespace, 1), (&world, 2)] {
            side.enter(|| {
                sh(&format!("ip addr add 198.51.100.{number}/24 dev up0"));
                sh(&format!("ip addr add 2001:db8::{number}/64 dev up0 nodad"));
                sh("ip link set up0 up");
            });
        }
        let directory = TempDir::new().unwrap();
        let networks = Networks::open(directory.path()).unwrap();
        Some(Self {
            namespace,
            world,
            networks,
            directory,
        })
    }

    fn create(&self, spec: &NetworkSpec) -> Network {
        self.namespace.enter(|| self.networks.create(spec)).unwrap()
    }

    fn attach(&self, network: &Network, spec: &EndpointSpec) -> Endpoint {
        self.namespace.enter(|| network.attach(spec)).unwrap()
    }

    fn guest(&self, network: &Network, spec: &EndpointSpec) -> Guest {
        Guest::start(self.attach(network, spec))
    }

    fn refused(&self) -> (u64, u64) {
        self.namespace.enter(|| self.networks.refused()).unwrap()
    }

    /// Everything in the host's packet filter, interfaces and routes.
    fn all(&self) -> String {
        // But not whether the carrier is there by now.
        let show = "nft list ruleset; ip -o link | sed 's/state .*//; s/NO-CARRIER,//; s/,LOWER_UP//; s/M-DOWN,//'; ip -o addr | sed 's, tentative,,'; ip route";
        self.namespace.enter(|| sh(show))
    }
}

/// A guest: a namespace, and a pump.
#[derive(Debug)]
struct Guest {
    namespace: Namespace,
    endpoint: Option<Endpoint>,
    /// Dropping it ends the pump.
    stop: Option<OwnedFd>,
    pump: Option<JoinHandle<()>>,
}

impl Guest {
    fn start(mut endpoint: Endpoint) -> Self {
        let namespace = Namespace::new().unwrap();
        let (mac, mtu, addresses, gateways) = (
            endpoint.mac(),
            endpoint.mtu(),
            endpoint.addresses(),
            endpoint.gateways(),
        );
        let inside = namespace.enter(|| {
            let queues = tap::create("eth0", 1, Owner::default()).unwrap();
            sh(&format!("ip link set eth0 address {mac} mtu {mtu} up"));
            for address in addresses {
                sh(&format!("ip addr add {address} dev eth0 nodad"));
            }
            for gateway in gateways {
                sh(&format!("ip route add default via {gateway}"));
            }
            queues
        });
        let (stopped, stop) = rustix::pipe::pipe().unwrap();
        let outside = endpoint.take_queues();
        let pump = thread::spawn(move || pump(&outside[0], &inside[0], &stopped));
        Self {
            namespace,
            endpoint: Some(endpoint),
            stop: Some(stop),
            pump: Some(pump),
        }
    }

    fn address(&self, is_v6: bool) -> IpAddr {
        let addresses = self.endpoint().addresses();
        let own = addresses.iter().map(ipnet::IpNet::addr);
        own.into_iter().find(|own| own.is_ipv6() == is_v6).unwrap()
    }

    fn endpoint(&self) -> &Endpoint {
        self.endpoint.as_ref().unwrap()
    }

    /// Serves its name to whoever connects.
    fn serve(&self, port: u16, name: &'static str) {
        serve(&self.namespace, port, name);
    }

    /// Ends the guest, not its endpoint.
    fn end(mut self) -> Endpoint {
        self.stop();
        self.endpoint.take().unwrap()
    }

    fn stop(&mut self) {
        self.stop = None;
        if let Some(pump) = self.pump.take() {
            pump.join().unwrap();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Carries frames, with their headers, from each to the other.
fn pump(a: &OwnedFd, b: &OwnedFd, stopped: &OwnedFd) {
    let mut frame = vec![0; 70_000];
    loop {
        let mut ready = [
            PollFd::new(a, PollFlags::IN),
            PollFd::new(b, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        poll(&mut ready, None).unwrap();
        if !ready[2].revents().is_empty() {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            while let Ok(length) = rustix::io::read(from, &mut frame) {
                // A full queue drops frames, as a wire does.
                let _ = rustix::io::write(to, &frame[..length]);
            }
        }
    }
}

/// Answers each connection with the name and who connected, for as long as the test runs.
fn serve(namespace: &Namespace, port: u16, name: &'static str) {
    let listener = namespace.enter(|| {
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
    });
    let listener = listener.unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let from = stream.peer_addr().unwrap().ip().to_canonical();
            let _ = stream.write_all(format!("{name} {from}").as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
}

/// What a server says.
fn ask(namespace: &Namespace, to: impl Into<SocketAddr>) -> io::Result<String> {
    ask_within(namespace, to, PATIENCE)
}

fn ask_within(
    namespace: &Namespace,
    to: impl Into<SocketAddr>,
    time: Duration,
) -> io::Result<String> {
    let to = to.into();
    let mut stream = namespace.enter(|| TcpStream::connect_timeout(&to, time))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// Whether an echo request is answered (RFC 792; RFC 4443, section 4).
fn pings(namespace: &Namespace, to: IpAddr, time: Duration) -> bool {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
    let is_v6 = to.is_ipv6();
    let socket = namespace.enter(|| {
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        let (family, protocol) = match is_v6 {
            false => (AddressFamily::INET, ipproto::ICMP),
            true => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let kind = SocketType::DGRAM;
        let socket =
            rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)).unwrap();
        rustix::net::connect(&socket, &SocketAddr::new(to, 0)).map(|()| socket)
    });
    let Ok(socket) = socket else { return false };
    let request = [if is_v6 { 128 } else { 8 }, 0, 0, 0, 0, 0, 0, 1];
    let end = Instant::now() + time;
    while Instant::now() < end {
        if rustix::net::send(&socket, &request, rustix::net::SendFlags::empty()).is_err() {
            return false;
        }
        let wait = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&wait)).unwrap() > 0 {
            return true;
        }
    }
    false
}

/// Waits until something holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::yield_now();
    }
}

/// Runs a shell command, in the namespace of the calling thread.
fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
