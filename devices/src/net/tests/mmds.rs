//! The metadata service as a guest finds it: by ARP and TCP through its network interface, with nothing behind.

use std::collections::VecDeque;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::guest::{Buffers, packet};
use super::*;
use crate::net::mmds::MmdsConfig;

const SERVICE: [u8; 4] = [169, 254, 169, 254];
const GUEST: [u8; 4] = [172, 16, 0, 2];

/// A guest's TCP/IP, and what it has in its interface.
struct Guest {
    driver: Driver,
    buffers: Buffers,
    host: Host,
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    mac: [u8; 6],
    start: Instant,
    port: u16,
    /// Whether checksums of TCP are left to the device, which does nothing about them.
    leaves_checksums: bool,
}

#[derive(Default)]
struct Wire {
    inbox: VecDeque<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
}

impl Guest {
    fn new(mmds: Mmds) -> Self {
        let (host, taps) = Host::new(1);
        let backend = NetBackend {
            mmds: Some(mmds),
            ..backend(taps)
        };
        let net = Net::new(&config(), backend).unwrap();
        let mut driver = Driver::ready(Box::new(net));
        let mut wire = Wire::default();
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|all| {
            let [a, b, c, d] = GUEST;
            all.push(IpCidr::new(IpAddress::v4(a, b, c, d), 0)).unwrap();
        });
        Self {
            buffers: Buffers::new(&mut driver, 0, RX),
            driver,
            host,
            interface,
            sockets: SocketSet::new(Vec::new()),
            wire,
            mac: [0; 6],
            start: Instant::now(),
            port: 40_000,
            leaves_checksums: false,
        }
    }

    /// Asks who has the service's address; the answer.
    fn resolve(&mut self) -> Vec<u8> {
        send(&mut self.driver, 1, &guest::arp(MAC.0, GUEST, SERVICE));
        self.driver.rings[1].used();
        let reply = self.buffers.take(&mut self.driver).remove(0);
        self.mac = reply[12 + 22..12 + 28].try_into().unwrap();
        reply
    }

    fn connect(&mut self) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 65_536]);
        let mut socket = Socket::new(buffer(), buffer());
        let [a, b, c, d] = SERVICE;
        self.port += 1;
        let service = (IpAddress::v4(a, b, c, d), 80);
        socket
            .connect(self.interface.context(), service, self.port)
            .unwrap();
        self.sockets.add(socket)
    }

    /// One round: packets out, the device's turn, packets in.
    fn turn(&mut self) {
        let now = i64::try_from(self.start.elapsed().as_micros()).unwrap();
        let now = smoltcp::time::Instant::from_micros(now);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        while let Some(mut packet) = self.wire.outbox.pop_front() {
            if self.leaves_checksums {
                packet[20 + 16..20 + 18].fill(0xaa);
            }
            let frame = [&self.mac[..], &MAC.0, &[8, 0], &packet].concat();
            send(&mut self.driver, 1, &frame);
            self.driver.rings[1].used();
        }
        self.driver.run();
        for frame in self.buffers.take(&mut self.driver) {
            assert_eq!(frame[12..18], MAC.0);
            self.wire.inbox.push_back(frame[12 + 14..].to_vec());
        }
    }

    fn turn_until<T>(&mut self, mut come: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begin = Instant::now();
        while begin.elapsed().as_secs() < 60 {
            self.turn();
            if let Some(result) = come(self) {
                return result;
            }
        }
        panic!("it never came");
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn write(&mut self, handle: SocketHandle, bytes: &[u8]) {
        self.turn_until(|guest| guest.socket(handle).may_send().then_some(()));
        assert_eq!(self.socket(handle).send_slice(bytes), Ok(bytes.len()));
    }

    /// Reads until the service closes the connection.
    fn read_all(&mut self, handle: SocketHandle) -> String {
        let mut all = Vec::new();
        self.turn_until(|guest| {
            let socket = guest.socket(handle);
            while socket.can_recv() {
                let taken = socket.recv(|bytes| (bytes.len(), bytes.to_vec()));
                all.extend(taken.unwrap());
            }
            (!socket.may_recv()).then_some(())
        });
        self.socket(handle).close();
        self.turn_until(|guest| (!guest.socket(handle).is_open()).then_some(()));
        String::from_utf8(all).unwrap()
    }

    fn get(&mut self, path: &str) -> String {
        let handle = self.connect();
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
        self.write(handle, request.as_bytes());
        let answer = self.read_all(handle);
        self.sockets.remove(handle);
        answer
    }
}

impl phy::Device for Wire {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.inbox.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outbox)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

struct Incoming(Vec<u8>);

impl phy::RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Outgoing<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}

fn mmds() -> Mmds {
    let mmds = Mmds::new(MmdsConfig::default()).unwrap();
    let large: String = (0..50_000_u32)
        .map(|i| char::from(b'a' + u8::try_from(i % 26).unwrap()))
        .collect();
    mmds.put(json!({ "name": "hull", "large": large })).unwrap();
    mmds
}

#[test]
fn a_guest_without_a_network_gets_its_metadata() {
    let mut guest = Guest::new(mmds());
    let reply = guest.resolve();
    assert_eq!(reply[12..18], MAC.0);
    assert_eq!(reply[12 + 12..12 + 22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    assert_eq!(reply[12 + 28..12 + 32], SERVICE);
    let answer = guest.get("/name");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhull"));
    // Larger than all buffers on the way.
    let answer = guest.get("/large");
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 50_000);
    assert!(answer.ends_with("abcdefghijklmnopqrstuvwxyzab"));
    // Not a frame of it went to the host.
    assert_eq!(guest.host.receive(0), None);
    assert_eq!(counters(&guest.driver).tx.get().packets, 0);
    assert!(counters(&guest.driver).rx.get().mmds_packets > 30);
    // And what is for others did.
    let other = packet([9; 6], (GUEST, [169, 254, 169, 253]), 17, &[0; 8]);
    send(&mut guest.driver, 1, &other);
    assert_eq!(guest.host.receive(0), Some(other));
}

#[test]
fn many_connections_one_after_the_other_find_a_place() {
    let mut guest = Guest::new(mmds());
    guest.resolve();
    for _ in 0..60 {
        assert!(guest.get("/name").ends_with("hull"));
    }
}

#[test]
fn unfinished_checksums_are_taken() {
    let mut guest = Guest::new(mmds());
    guest.resolve();
    guest.leaves_checksums = true;
    assert!(guest.get("/name").ends_with("hull"));
}

#[test]
fn a_connection_stays_open_for_several_requests() {
    let mut guest = Guest::new(mmds());
    guest.resolve();
    let handle = guest.connect();
    for _ in 0..3 {
        guest.write(handle, b"GET /name HTTP/1.1\r\n\r\n");
        guest.turn_until(|guest| {
            let taken = guest
                .socket(handle)
                .recv(|bytes| (bytes.len(), bytes.to_vec()));
            taken.ok().filter(|bytes| bytes.ends_with(b"hull"))
        });
    }
    guest.write(handle, b"GET /name HTTP/1.0\r\n\r\n");
    assert!(guest.read_all(handle).ends_with("hull"));
}

#[test]
fn connections_have_a_bound_and_those_that_are_closed_make_room() {
    let mut guest = Guest::new(mmds());
    guest.resolve();
    let handles: Vec<_> = (0..40).map(|_| guest.connect()).collect();
    let state = |guest: &mut Guest, handle| guest.socket(handle).state();
    guest.turn_until(|guest| {
        let is_settled = |handle: &SocketHandle| {
            matches!(
                guest.sockets.get::<Socket<'_>>(*handle).state(),
                State::Established | State::Closed
            )
        };
        handles.iter().all(is_settled).then_some(())
    });
    let open: Vec<_> = handles
        .iter()
        .copied()
        .filter(|handle| state(&mut guest, *handle) == State::Established)
        .collect();
    assert_eq!(open.len(), 16);
    guest.socket(open[0]).close();
    guest.turn_until(|guest| (guest.socket(open[0]).state() != State::FinWait1).then_some(()));
    guest.turn();
    assert!(guest.get("/name").ends_with("hull"));
}

#[test]
fn a_guest_that_takes_no_frames_stalls_only_itself() {
    let mut guest = Guest::new(mmds());
    guest.resolve();
    // All buffers are filled with something else, and not offered again.
    for _ in 0..24 {
        guest.host.send(0, &frame(100, 0));
    }
    guest.driver.run();
    for count in 0..2000_u16 {
        let source = (count + 1000).to_be_bytes();
        let syn = [
            &source[..],
            &[
                0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
            ],
        ]
        .concat();
        send(
            &mut guest.driver,
            1,
            &packet(guest.mac, (GUEST, SERVICE), 6, &syn),
        );
        assert_eq!(guest.driver.rings[1].used().len(), 1);
    }
    // Other traffic goes on.
    send(&mut guest.driver, 1, &frame(100, 1));
    assert_eq!(guest.host.receive(0), Some(frame(100, 1)));
    guest.driver.run();
}

#[test]
fn connections_do_not_survive_a_reset_but_the_service_does() {
    let mut guest = Guest::new(mmds());
    guest.resolve();
    let handle = guest.connect();
    guest.write(handle, b"GET /na");
    guest.turn();
    guest.driver.start(u64::MAX);
    guest.buffers = Buffers::new(&mut guest.driver, 0, RX);
    guest.sockets.remove(handle);
    guest.wire = Wire::default();
    assert!(guest.get("/name").ends_with("hull"));
}

/// A TCP segment to the service.
fn segment(port: u16, numbers: (u32, u32), flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut segment = [port.to_be_bytes(), 80_u16.to_be_bytes()].concat();
    segment.extend(numbers.0.to_be_bytes());
    segment.extend(numbers.1.to_be_bytes());
    let words = u8::try_from(5 + options.len().div_ceil(4)).unwrap();
    segment.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(options);
    segment.resize(usize::from(words) * 4, 0);
    segment.extend(payload);
    segment
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A peer that knows the protocol and keeps to none of it brings nothing down.
    #[test]
    fn any_segments_can_come_on_a_connection(
        segments in prop::collection::vec(
            (
                -3_i32..6000,
                -3_i32..70_000,
                prop_oneof![3 => Just(0x10_u8), 3 => Just(0x18), 1 => 0_u8..64],
                prop::collection::vec(any::<u8>(), 0..40),
                prop::sample::select(vec![&b""[..], b"GET /large HTTP/1.1\r\n\r\n", b"GET ", b"\r\n\r\n", &[b'x'; 5000]]),
            ),
            1..60,
        ),
    ) {
        let mut guest = Guest::new(mmds());
        guest.resolve();
        let mut exchange = |segment: &[u8]| {
            send(&mut guest.driver, 1, &packet(guest.mac, (GUEST, SERVICE), 6, segment));
            guest.driver.rings[1].used();
            guest.buffers.take(&mut guest.driver)
        };
        let mss = [2, 4, 0x05, 0xb4];
        let answer = exchange(&segment(1234, (99, 0), 2, &mss, &[])).remove(0);
        let number = u32::from_be_bytes(answer[50..54].try_into().unwrap()).wrapping_add(1);
        exchange(&segment(1234, (100, number), 0x10, &[], &[]));
        for (sent, received, flags, options, payload) in segments {
            let numbers = (100_u32.wrapping_add_signed(sent), number.wrapping_add_signed(received));
            let options = if flags % 2 == 1 { &options[..] } else { &[] };
            exchange(&segment(1234, numbers, flags, options, payload));
        }
        prop_assert!(!guest.driver.is_lost());
        let reply = guest.resolve();
        prop_assert_eq!(&reply[12 + 12..12 + 14], &[8, 6][..]);
    }

    /// Whatever frames come for the service, it lives on.
    #[test]
    fn any_frames_can_come(
        frames in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..80), any::<bool>(), 0_u8..64, 0_u8..16, any::<u16>()),
            1..40,
        ),
    ) {
        let mut guest = Guest::new(mmds());
        guest.resolve();
        for (bytes, is_tcp, flags, words, number) in frames {
            let mut payload = bytes;
            if is_tcp {
                // Near to a segment that it takes.
                let [high, low] = (number % 3 + 2000).to_be_bytes();
                let head = [high, low, 0, 80, 0, 0, 0, low, 0, 0, 0, 0, words << 4, flags, 1, 0, 0, 0, 0, 0];
                payload.splice(0..0, head);
            }
            let mut frame = packet(guest.mac, (GUEST, SERVICE), if is_tcp { 6 } else { low_byte(number) }, &payload);
            if number % 5 == 0 {
                // A length that is not true.
                frame[17] ^= low_byte(number);
            }
            if number % 7 == 0 {
                frame.truncate(14 + usize::from(number % 60));
            }
            send(&mut guest.driver, 1, &frame);
            guest.driver.rings[1].used();
            guest.buffers.take(&mut guest.driver);
        }
        prop_assert!(!guest.driver.is_lost());
        let reply = guest.resolve();
        prop_assert_eq!(&reply[12 + 28..12 + 32], &SERVICE[..]);
    }
}

fn low_byte(number: u16) -> u8 {
    number.to_le_bytes()[0]
}
