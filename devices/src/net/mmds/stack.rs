//! TCP/IP for a few connections, by smoltcp, over packets in memory.
//!
//! All that it needs is allocated once: each connection has its buffers, packets that wait for the guest have a bound, and
//! a packet that comes while they are at it is lost, as on any network. What a guest leaves open is closed after a while.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::exchange::Exchange;
use super::store::Mmds;

const PORT: u16 = 80;
/// Connections at a time.
const CONNECTIONS: usize = 16;
/// Bytes of a connection's buffers: what comes in, and what goes out unacknowledged.
const RECEIVE: usize = 4096;
const SEND: usize = 16_384;
/// Packets that wait for the guest.
const MAX_WAITING: usize = 32;
/// The largest packet that goes out, in bytes.
const MTU: usize = 1500;
/// How long a connection may go without an answer being sent.
const IDLE: Duration = Duration::from_secs(15);
/// How often a turn goes back and forth between packets and requests. A request that takes longer goes on with the next
/// packet.
const ROUNDS: usize = 8;
/// The shortest sleep: what smoltcp wants at once was done a moment ago.
const SOON: Duration = Duration::from_millis(1);

/// The service's end of all connections.
pub(super) struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    wire: Wire,
    /// The time at which the stack's own time began.
    start: Duration,
}

struct Connection {
    handle: SocketHandle,
    exchange: Exchange,
    /// When it was opened, or a part of an answer was sent.
    since: Duration,
}

/// Packets in and out.
struct Wire {
    inbox: Option<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
}

impl Stack {
    pub(super) fn new(address: Ipv4Addr, seed: u64, now: Duration) -> Self {
        let mut wire = Wire {
            inbox: None,
            outbox: VecDeque::new(),
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // Whatever address a guest has, it is on this link. There is room for one address, and it is the first.
            let _ = addresses.push(IpCidr::new(address.into(), 0));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let connections = (0..CONNECTIONS)
            .map(|_| Connection {
                handle: sockets.add(socket()),
                exchange: Exchange::default(),
                since: now,
            })
            .collect();
        Self {
            interface,
            sockets,
            connections,
            wire,
            start: now,
        }
    }

    /// The next packet for the guest.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.wire.outbox.front().map(Vec::as_slice)
    }

    /// The guest has it.
    pub(super) fn sent(&mut self) {
        self.wire.outbox.pop_front();
    }

    /// Takes a packet, and does what follows. If too many wait for the guest, it is lost.
    pub(super) fn take(&mut self, packet: Vec<u8>, mmds: &Mmds, now: Duration) {
        self.wire.inbox = Some(packet);
        self.poll(mmds, now);
        self.wire.inbox = None;
    }

    /// Does what there is to do.
    pub(super) fn poll(&mut self, mmds: &Mmds, now: Duration) {
        let at = self.instant(now);
        for _ in 0..ROUNDS {
            self.interface.poll(at, &mut self.wire, &mut self.sockets);
            let mut moved = false;
            for connection in &mut self.connections {
                let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
                moved |= connection.turn(socket, mmds, now);
            }
            self.make_place();
            if !moved {
                break;
            }
        }
    }

    /// When to poll again, if nothing happens before.
    pub(super) fn next(&mut self, now: Duration) -> Option<Duration> {
        let at = self.instant(now);
        // With no room for packets there is nothing to do until the guest takes some.
        let has_room = self.wire.outbox.len() < MAX_WAITING;
        let packets = self
            .interface
            .poll_delay(at, &self.sockets)
            .filter(|_| has_room)
            .map(|delay| now + Duration::from_micros(delay.total_micros()).max(SOON));
        let open = self.connections.iter().filter(|connection| {
            let socket = self.sockets.get::<Socket<'_>>(connection.handle);
            !socket.is_listening()
        });
        let idle = open.map(|connection| connection.since + IDLE).min();
        match (packets, idle) {
            (Some(packets), Some(idle)) => Some(packets.min(idle)),
            (packets, idle) => packets.or(idle),
        }
    }

    /// Frees a connection whose guest has everything and which only waits for its last words, if no other is free.
    fn make_place(&mut self) {
        let mut over = None;
        for connection in &self.connections {
            let socket = self.sockets.get::<Socket<'_>>(connection.handle);
            match socket.state() {
                State::Listen | State::Closed => return,
                State::TimeWait | State::FinWait2 => over = Some(connection.handle),
                _ => {}
            }
        }
        if let Some(handle) = over {
            let socket = self.sockets.get_mut::<Socket<'_>>(handle);
            socket.abort();
            listen(socket);
        }
    }

    fn instant(&self, now: Duration) -> Instant {
        let since = now.saturating_sub(self.start).as_micros();
        Instant::from_micros(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

impl Connection {
    /// Moves bytes between the connection and its exchange; whether there were any.
    fn turn(&mut self, socket: &mut Socket<'_>, mmds: &Mmds, now: Duration) -> bool {
        if !socket.is_open() {
            listen(socket);
        }
        if socket.is_listening() {
            self.exchange = Exchange::default();
            self.since = now;
            return false;
        }
        let (received, sent) = (
            self.receive(socket, mmds, now),
            self.send(socket, mmds, now),
        );
        if sent {
            // Not for what is received: who sends a byte now and then would keep his place for ever.
            self.since = now;
        }
        let is_done = self.exchange.is_over()
            || !socket.may_recv() && socket.recv_queue() == 0 && self.exchange.output().is_empty();
        if is_done && socket.may_send() {
            socket.close();
        }
        if now.saturating_sub(self.since) >= IDLE {
            socket.abort();
        }
        received || sent
    }

    fn receive(&mut self, socket: &mut Socket<'_>, mmds: &Mmds, now: Duration) -> bool {
        let room = self.exchange.room();
        if room == 0 || !socket.can_recv() {
            return false;
        }
        let exchange = &mut self.exchange;
        let taken = socket.recv(|bytes| {
            let bytes = bytes.get(..bytes.len().min(room)).unwrap_or_default();
            exchange.take(bytes, mmds, now);
            (bytes.len(), bytes.len())
        });
        taken.is_ok_and(|count| count > 0)
    }

    fn send(&mut self, socket: &mut Socket<'_>, mmds: &Mmds, now: Duration) -> bool {
        let output = self.exchange.output();
        if output.is_empty() || !socket.can_send() {
            return false;
        }
        let count = socket.send_slice(output).unwrap_or(0);
        self.exchange.sent(count, mmds, now);
        count > 0
    }
}

fn socket() -> Socket<'static> {
    let buffer = |size| SocketBuffer::new(vec![0; size]);
    let mut socket = Socket::new(buffer(RECEIVE), buffer(SEND));
    // Answers are written in one go, and guests wait for them.
    socket.set_nagle_enabled(false);
    let idle = u64::try_from(IDLE.as_millis()).unwrap_or(u64::MAX);
    socket.set_timeout(Some(smoltcp::time::Duration::from_millis(idle)));
    listen(&mut socket);
    socket
}

fn listen(socket: &mut Socket<'_>) {
    // It can't fail: the port is not 0, and the socket is closed.
    let _ = socket.listen(PORT);
}

impl phy::Device for Wire {
    type RxToken<'a> = Incoming<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        if self.outbox.len() >= MAX_WAITING {
            return None;
        }
        let incoming = Incoming(&mut self.inbox);
        incoming
            .0
            .is_some()
            .then_some((incoming, Outgoing(&mut self.outbox)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoing<'_>> {
        (self.outbox.len() < MAX_WAITING).then_some(Outgoing(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // Guests leave checksums to the device, and nothing on the way from memory to memory breaks a packet.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities
    }
}

/// The packet that came.
struct Incoming<'a>(&'a mut Option<Vec<u8>>);

impl phy::RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0.take().unwrap_or_default())
    }
}

/// Room for a packet.
struct Outgoing<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}
