//! A network in user space for one microVM, where there is no right to make interfaces: the program passt (`man 1 passt`).
//!
//! passt turns the guest's connections into sockets of its own, in the host's network as it is. It and the VMM share a pair of
//! connected Unix stream sockets, on which each frame follows its length, 32 bits, big-endian. passt ends when the other
//! end is closed, so it lives exactly as long as the microVM that has it, or as this process until the socket is handed over.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;

use super::publish::Market;
use super::{
    EndpointSpec, Error, MacAddress, NetworkSpec, Protocol, Publication, Published, program,
};

/// How long passt may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of what it says is shown.
const SAID: u64 = 400;

/// What one microVM's network is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasstSpec {
    /// The guest's MAC address; it is said only so that passt knows its guest at once.
    pub mac: Option<MacAddress>,
    /// The guest's addresses, at most one of a family; the host's own without them.
    pub addresses: Vec<IpNet>,
    /// The guest's gateways, at most one of a family; the host's own without them.
    pub gateways: Vec<IpAddr>,
    /// The MTU that passt tells the guest, in bytes; without it, 65520.
    pub mtu: Option<u16>,
    /// Servers of names that passt tells the guest; the host's own without them.
    pub dns: Vec<IpAddr>,
    /// Domains in which the guest looks for names; the host's own without them.
    pub search: Vec<String>,
    /// Ports of the host that passt listens on.
    pub publish: Vec<Publication>,
    /// Whether the gateway's address leads the guest to what listens on the host's loopback.
    pub host_loopback: bool,
}

/// A passt process.
#[derive(Debug)]
pub struct Passt {
    child: Child,
    socket: Option<OwnedFd>,
    published: Vec<Published>,
}

impl Passt {
    /// What a network and an endpoint with a bridge can have and passt cannot do, in sentences for people.
    #[must_use]
    pub fn cannot(network: &NetworkSpec, endpoint: &EndpointSpec) -> Vec<&'static str> {
        let limits = [
            (
                network.internal,
                "passt always lets the guest reach the world: it cannot make an internal network",
            ),
            (
                network.inter_container,
                "with passt, microVMs do not reach one another but by published ports",
            ),
            (
                !network.services.is_empty(),
                "with passt, nothing of Hull listens at the guest's gateway",
            ),
            (
                !network.masquerade,
                "with passt, what leaves the guest always has the host's address",
            ),
            (endpoint.queues > 1, "passt has one queue"),
        ];
        limits
            .into_iter()
            .filter_map(|(is_wanted, limit)| is_wanted.then_some(limit))
            .collect()
    }

    /// Starts passt; returns when it carries frames and listens on all ports.
    pub fn start(spec: &PasstSpec) -> Result<Self, Error> {
        let program = program::find("passt").ok_or(Error::NoPasst)?;
        let failed = |source| Error::Start {
            program: "passt",
            source,
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let (arguments, published) = arguments(spec)?;
        let mut log = tempfile::tempfile().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(["--foreground", "--quiet", "--stderr", "--fd"])
            .arg(theirs.as_raw_fd().to_string())
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.try_clone().map_err(failed)?)
            // Ctrl-C at the terminal is the guest's.
            .process_group(0);
        inherit(&mut command, &theirs);
        let child = command.spawn().map_err(failed)?;
        drop(theirs);
        let mut passt = Self {
            child,
            socket: None,
            published,
        };
        match answers(&ours, spec) {
            Ok(()) => {
                passt.socket = Some(ours.into());
                Ok(passt)
            }
            Err(error) => {
                drop(ours);
                drop(passt);
                Err(Error::PasstEnded {
                    said: last_words(&mut log).unwrap_or_else(|| error.to_string()),
                })
            }
        }
    }

    /// The connected socket, to be handed to the VMM; the second call gives none. When its last copy is closed, passt ends.
    pub fn take_socket(&mut self) -> Option<OwnedFd> {
        self.socket.take()
    }

    /// The ports that it listens on. `to` is the guest's address where one was given, else unspecified.
    #[must_use]
    pub fn published(&self) -> &[Published] {
        &self.published
    }

    /// Ends it. Its microVM is gone, so it ends by itself, too; this is for who wants to see the end of it.
    pub fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits (blocking) until it has ended, which it does when its socket is closed.
    pub fn wait(mut self) -> io::Result<()> {
        self.socket = None;
        self.child.wait().map(drop)
    }
}

impl Drop for Passt {
    /// Ends it, unless its socket was handed over: then it is the microVM's, and goes with that.
    fn drop(&mut self) {
        if self.socket.take().is_some() {
            let _ = self.child.kill();
        }
        // One that has ended is taken off the list of processes; another one is when this process is.
        let _ = self.child.try_wait();
    }
}

fn arguments(spec: &PasstSpec) -> Result<(Vec<String>, Vec<Published>), Error> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    let one_of_each = |addresses: Vec<IpAddr>, what: &str| {
        let v6 = addresses.iter().filter(|address| address.is_ipv6()).count();
        match v6 > 1 || addresses.len() - v6 > 1 {
            true => Err(Error::invalid(
                format!("passt takes one {what} of each family, not {addresses:?}"),
                "give fewer",
            )),
            false => Ok(addresses),
        }
    };
    let own: Vec<IpAddr> = spec.addresses.iter().map(IpNet::addr).collect();
    for address in one_of_each(own.clone(), "address")? {
        add("--address", address.to_string());
    }
    if let Some(IpNet::V4(net)) = spec.addresses.iter().find(|net| net.addr().is_ipv4()) {
        add("--netmask", net.prefix_len().to_string());
    }
    for gateway in one_of_each(spec.gateways.clone(), "gateway")? {
        add("--gateway", gateway.to_string());
    }
    for server in &spec.dns {
        add("--dns", server.to_string());
    }
    for domain in &spec.search {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if domain.is_empty() || domain.starts_with('-') || !domain.bytes().all(is_name) {
            return Err(Error::invalid(
                format!("{domain:?} is no domain"),
                "give one like example.org",
            ));
        }
        add("--search", domain.clone());
    }
    if let Some(mtu) = spec.mtu {
        add("--mtu", mtu.to_string());
    }
    // The ports are found and held as for other endpoints, and let go when passt is about to take them.
    let any = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    ];
    let market = Market {
        by_kernel: false,
        to: if own.is_empty() { &any } else { &own },
        taken: &[],
    };
    let published = market.reserve(&spec.publish)?.ports;
    for port in &published {
        let option = match port.protocol {
            Protocol::Tcp => "--tcp-ports",
            Protocol::Udp => "--udp-ports",
        };
        let at = format!("{}/{}:{}", port.address, port.host, port.guest);
        // With no address it listens on all of both families at once, so that is said once.
        match (port.address.is_unspecified(), port.address.is_ipv6()) {
            (false, _) => add(option, at),
            (true, false) => add(option, format!("{}:{}", port.host, port.guest)),
            (true, true) if own.iter().all(IpAddr::is_ipv6) && !own.is_empty() => {
                add(option, format!("{}:{}", port.host, port.guest));
            }
            (true, true) => {}
        }
    }
    if !spec.host_loopback {
        arguments.push("--no-map-gw".to_owned());
    }
    Ok((arguments, published))
}

/// Asks for the MAC address of some neighbour (RFC 826): passt answers for all, once it carries frames.
fn answers(mut socket: &UnixStream, spec: &PasstSpec) -> io::Result<()> {
    let mac = spec.mac.map_or([2, 0, 0, 0, 0, 1], MacAddress::octets);
    let own = spec.addresses.iter().find_map(|net| match net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let own = own.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
    // An address for documentation (RFC 5737), which is no guest's.
    let target = [192, 0, 2, 254];
    let request = [0, 1, 8, 0, 6, 4, 0, 1];
    let frame = [
        &[0xff; 6][..],
        &mac,
        &[8, 6],
        &request,
        &mac,
        &own,
        &[0; 6],
        &target,
    ]
    .concat();
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&[&length.to_be_bytes()[..], &frame].concat())?;
    loop {
        let mut length = [0; 4];
        socket.read_exact(&mut length)?;
        let length = u64::from(u32::from_be_bytes(length)).min(1 << 16);
        let mut frame = Vec::new();
        socket.take(length).read_to_end(&mut frame)?;
        if frame.get(12..14) == Some(&[8, 6]) {
            break;
        }
    }
    socket.set_read_timeout(None)
}

fn last_words(log: &mut File) -> Option<String> {
    let end = log.seek(io::SeekFrom::End(0)).ok()?;
    log.seek(io::SeekFrom::Start(end.saturating_sub(SAID)))
        .ok()?;
    let mut said = String::new();
    log.read_to_string(&mut said).ok()?;
    let said = said
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !line.contains("syslog"))?;
    Some(said.trim().to_owned())
}

/// Lets the child have the socket under its number.
#[allow(unsafe_code)]
fn inherit(command: &mut Command, socket: &UnixStream) {
    let number = socket.as_raw_fd();
    let hook = move || {
        // SAFETY: the caller holds the socket until after the child was started.
        let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        Ok(rustix::io::fcntl_setfd(
            socket,
            rustix::io::FdFlags::empty(),
        )?)
    };
    // SAFETY: between fork and exec the closure makes one system call; nothing in it allocates.
    unsafe { command.pre_exec(hook) };
}
