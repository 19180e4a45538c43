//! Real TAPs, in a network namespace that each test makes for itself on a thread of its own; it goes with its thread.

#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use super::guest::{Buffers, checksum, packet, pseudo};
use super::*;

const HOST: [u8; 4] = [10, 9, 0, 1];
const GUEST: [u8; 4] = [10, 9, 0, 2];
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const NAME: &str = "tap0";
const UDP: u8 = 17;
const TCP: u8 = 6;
const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

/// Runs a test in a network namespace of its own; says so where that is not allowed.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let inside = std::thread::spawn(|| {
        // SAFETY: only this thread moves, and it owns no file that others use.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            println!("SKIPPED: no network namespaces here");
        } else if !std::path::Path::new("/dev/net/tun").exists() {
            println!("SKIPPED: no /dev/net/tun");
        } else {
            test();
        }
    });
    if let Err(panic) = inside.join() {
        std::panic::resume_unwind(panic);
    }
}

fn request(fd: &impl AsRawFd, number: libc::Ioctl, fill: impl FnOnce(&mut libc::ifreq)) {
    // SAFETY: all-zero is a request with an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
        *place = libc::c_char::try_from(byte).unwrap();
    }
    fill(&mut request);
    // SAFETY: all numbers that are passed here take an `ifreq`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), number, &raw mut request) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn address(address: [u8; 4]) -> libc::sockaddr {
    let mut bytes = [0; 14];
    for (place, byte) in bytes[2..].iter_mut().zip(address) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    libc::sockaddr {
        sa_family: u16::try_from(libc::AF_INET).unwrap(),
        sa_data: bytes,
    }
}

fn set_up(up: bool) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let flag = if up { libc::IFF_UP } else { 0 };
    request(&socket, libc::SIOCSIFFLAGS, |request| {
        request.ifr_ifru.ifru_flags = i16::try_from(flag).unwrap();
    });
}

/// An interface with so many queues, an address, and the guest as a neighbour.
fn interface(queues: usize) -> Vec<Tap> {
    let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let multi = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let open = || {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).open("/dev/net/tun").unwrap();
        request(&file, libc::TUNSETIFF, |request| {
            request.ifr_ifru.ifru_flags = i16::try_from(kind | multi).unwrap();
        });
        Tap::new(OwnedFd::from(file)).unwrap()
    };
    let taps = (0..queues).map(|_| open()).collect();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    request(&socket, libc::SIOCSIFHWADDR, |request| {
        let mut hardware = address([0; 4]);
        hardware.sa_family = libc::ARPHRD_ETHER;
        for (place, byte) in hardware.sa_data.iter_mut().zip(HOST_MAC) {
            *place = libc::c_char::from_ne_bytes([byte]);
        }
        request.ifr_ifru.ifru_hwaddr = hardware;
    });
    request(&socket, libc::SIOCSIFADDR, |request| {
        request.ifr_ifru.ifru_addr = address(HOST);
    });
    request(&socket, libc::SIOCSIFNETMASK, |request| {
        request.ifr_ifru.ifru_netmask = address([255, 255, 255, 0]);
    });
    set_up(true);
    // SAFETY: all-zero is an empty entry.
    let mut neighbour: libc::arpreq = unsafe { std::mem::zeroed() };
    neighbour.arp_pa = address(GUEST);
    neighbour.arp_ha.sa_family = libc::ARPHRD_ETHER;
    for (place, byte) in neighbour.arp_ha.sa_data.iter_mut().zip(MAC.0) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    neighbour.arp_flags = libc::ATF_COM | libc::ATF_PERM;
    for (place, byte) in neighbour.arp_dev.iter_mut().zip(NAME.bytes()) {
        *place = libc::c_char::try_from(byte).unwrap();
    }
    // SAFETY: the request takes an `arpreq`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSARP, &raw const neighbour) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    taps
}

fn guest(queues: usize) -> Driver {
    let net = Net::new(&config(), backend(interface(queues))).unwrap();
    Driver::ready(Box::new(net))
}

/// Sends a packet whose checksum the host is to fill in, and which it is to segment.
fn send_unfinished(driver: &mut Driver, frame: &[u8], field: u16, gso: (u8, u16, u16)) {
    let (kind, header_len, size) = gso;
    let mut bytes = vec![1, kind];
    for number in [header_len, size, 34, field, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(frame);
    driver.put(TX, &bytes);
    assert_eq!(driver.request(1, &[desc(TX, bytes.len(), false)]), Some(0));
}

fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len();
    let mut datagram = Vec::new();
    for number in [ports.0, ports.1, u16::try_from(len).unwrap()] {
        datagram.extend(number.to_be_bytes());
    }
    datagram.extend(pseudo((GUEST, HOST), UDP, len));
    datagram.extend(payload);
    packet(HOST_MAC, (GUEST, HOST), UDP, &datagram)
}

#[test]
fn datagrams_go_both_ways() {
    in_namespace(|| {
        let mut driver = guest(1);
        let mut buffers = Buffers::new(&mut driver, 0, RX);
        let socket = UdpSocket::bind((Ipv4Addr::from(HOST), 5000)).unwrap();
        socket.set_read_timeout(MINUTE).unwrap();
        for count in 0_u8..50 {
            send_unfinished(&mut driver, &udp((6000, 5000), &[count; 100]), 6, (0, 0, 0));
            let mut bytes = [0; 200];
            let (len, from) = socket.recv_from(&mut bytes).unwrap();
            assert_eq!(bytes[..len], [count; 100]);
            assert_eq!(from, (Ipv4Addr::from(GUEST), 6000).into());
            socket.send_to(&[count; 99], from).unwrap();
            let frames = buffers.wait(&mut driver, UDP);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0][12..18], MAC.0);
            assert_eq!(frames[0][12 + 42..], [count; 99]);
        }
        assert_eq!(counters(&driver).tx.get().packets, 50);
        assert_eq!(counters(&driver).tx.get().bytes, 50 * 142);
    });
}

#[test]
fn a_driver_without_offloads_gets_finished_packets() {
    in_namespace(|| {
        let net = Net::new(&config(), backend(interface(1))).unwrap();
        let mut driver = Driver::new(Box::new(net));
        driver.start(0);
        let mut buffers = Buffers::new(&mut driver, 0, RX);
        let socket = UdpSocket::bind((Ipv4Addr::from(HOST), 5000)).unwrap();
        socket
            .send_to(&[7; 100], (Ipv4Addr::from(GUEST), 6000))
            .unwrap();
        let frames = buffers.wait(&mut driver, UDP);
        assert_eq!(frames[0][0] & 1, 0, "a checksum was left open");
        // The sum over all, with its checksum, is all ones.
        let datagram = &frames[0][12 + 34..];
        let sum = checksum(&[&HOST, &GUEST, &[0, UDP], &[0, 108], datagram]);
        assert_eq!(sum, 0xffff);
    });
}

/// One half of a TCP connection, as simple as can be.
struct Connection {
    ports: (u16, u16),
    next: u32,
    acknowledged: u32,
}

impl Connection {
    fn segment(&self, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let len = 20 + options.len() + payload.len();
        let mut segment = Vec::new();
        segment.extend(self.ports.0.to_be_bytes());
        segment.extend(self.ports.1.to_be_bytes());
        segment.extend(self.next.to_be_bytes());
        segment.extend(self.acknowledged.to_be_bytes());
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        segment.extend([words << 4, flags, 0xff, 0xff]);
        segment.extend(pseudo((GUEST, HOST), TCP, len));
        segment.extend([0, 0]);
        segment.extend(options);
        segment.extend(payload);
        packet(HOST_MAC, (GUEST, HOST), TCP, &segment)
    }

    /// Takes a connection that the host opens, and acknowledges so many bytes at once that it may send a lot.
    fn accept(driver: &mut Driver, buffers: &mut Buffers) -> Self {
        let syn = buffers.wait(driver, TCP).remove(0);
        let number = |at: usize| u32::from_be_bytes(syn[at..at + 4].try_into().unwrap());
        let port = |at: usize| u16::from_be_bytes(syn[at..at + 2].try_into().unwrap());
        let mut connection = Self {
            ports: (port(48), port(46)),
            next: 7000,
            acknowledged: number(50).wrapping_add(1),
        };
        // SYN and ACK, an MSS of 1360.
        let answer = connection.segment(0x12, &[2, 4, 0x05, 0x50], &[]);
        send_unfinished(driver, &answer, 16, (0, 0, 0));
        connection.next += 1;
        connection
    }
}

#[test]
fn segments_are_large_both_ways() {
    in_namespace(|| {
        let mut driver = guest(1);
        let mut buffers = Buffers::new(&mut driver, 0, RX);
        let connecting = |port: u16| {
            TcpStream::connect_timeout(&(Ipv4Addr::from(GUEST), port).into(), MINUTE.unwrap())
        };
        // The thread stays in this namespace, for its parent is in it.
        let opened = std::thread::spawn(move || connecting(80).unwrap());
        let mut connection = Connection::accept(&mut driver, &mut buffers);
        let mut stream = opened.join().unwrap();
        stream.set_read_timeout(MINUTE).unwrap();
        stream.set_nodelay(true).unwrap();

        // To the guest: more than a frame's worth in one frame, over several buffers.
        let sent: Vec<u8> = (0..13_000_u32)
            .map(|i| u8::try_from(i % 251).unwrap())
            .collect();
        stream.write_all(&sent).unwrap();
        let (mut received, mut largest) = (Vec::<u8>::new(), 0);
        while received.len() < sent.len() {
            for frame in buffers.wait(&mut driver, TCP) {
                let words = usize::from(frame[12 + 46] >> 4);
                let payload = &frame[12 + 34 + words * 4..];
                if payload.is_empty() {
                    continue;
                }
                let number = u32::from_be_bytes(frame[50..54].try_into().unwrap());
                if number == connection.acknowledged {
                    received.extend(payload);
                    connection.acknowledged += u32::try_from(payload.len()).unwrap();
                }
                if payload.len() > 1500 {
                    assert_eq!(frame[1], 1, "GSO for TCP over IPv4");
                    assert_eq!(frame[0] & 1, 1, "its checksum is open");
                }
                largest = largest.max(payload.len());
            }
            let acknowledge = connection.segment(0x10, &[], &[]);
            send_unfinished(&mut driver, &acknowledge, 16, (0, 0, 0));
        }
        assert_eq!(received, sent);
        assert!(largest > 4096, "no frame was larger than {largest} bytes");

        // From the guest: one frame that the host takes as many segments.
        let sent: Vec<u8> = (0..30_000_u32)
            .map(|i| u8::try_from(i % 241).unwrap())
            .collect();
        let segment = connection.segment(0x18, &[], &sent);
        send_unfinished(&mut driver, &segment, 16, (1, 54, 1360));
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received).unwrap();
        assert_eq!(received, sent);
        assert_eq!(counters(&driver).tx.get().errors, 0);
    });
}

#[test]
fn a_frame_is_cut_into_datagrams() {
    in_namespace(|| {
        let mut driver = guest(1);
        if driver.offered() & 1 << 56 == 0 {
            println!("SKIPPED: this kernel's TAP does not know UDP segmentation");
            return;
        }
        let socket = UdpSocket::bind((Ipv4Addr::from(HOST), 5000)).unwrap();
        socket.set_read_timeout(MINUTE).unwrap();
        let payload: Vec<u8> = (0..4500_u32)
            .map(|i| u8::try_from(i % 251).unwrap())
            .collect();
        send_unfinished(&mut driver, &udp((6000, 5000), &payload), 6, (5, 42, 1000));
        let mut received = Vec::<u8>::new();
        for len in [1000, 1000, 1000, 1000, 500] {
            let mut bytes = [0; 2000];
            assert_eq!(socket.recv(&mut bytes).unwrap(), len);
            received.extend(&bytes[..len]);
        }
        assert_eq!(received, payload);
    });
}

#[test]
fn several_queues_share_the_traffic_as_the_guest_wants() {
    in_namespace(|| {
        let mut driver = guest(2);
        let mut buffers = [
            Buffers::new(&mut driver, 0, RX),
            Buffers::new(&mut driver, 2, RX + 0x2_0000),
        ];
        // Each socket is a flow, and flows are spread over the queues.
        let flood = |driver: &mut Driver, buffers: &mut [Buffers; 2]| {
            let mut counts = [0; 2];
            for index in 0..64_usize {
                let socket = UdpSocket::bind((Ipv4Addr::from(HOST), 0)).unwrap();
                socket
                    .send_to(b"flow", (Ipv4Addr::from(GUEST), 6000))
                    .unwrap();
                driver.run_until(|driver| {
                    for (count, buffers) in counts.iter_mut().zip(buffers.iter_mut()) {
                        let frames = buffers.take(driver);
                        let is_udp = |frame: &&Vec<u8>| frame[24..26] == [8, 0] && frame[35] == UDP;
                        *count += frames.iter().filter(is_udp).count();
                    }
                    (counts[0] + counts[1] > index).then_some(())
                });
            }
            counts
        };
        assert_eq!(flood(&mut driver, &mut buffers), [64, 0]);
        let pairs = |driver: &mut Driver, count: u8| {
            driver.put(CONTROL, &[4, 0, count, 0]);
            let buffers = [desc(CONTROL, 4, false), desc(CONTROL + 16, 1, true)];
            assert_eq!(driver.request(4, &buffers), Some(1));
            assert_eq!(driver.get(CONTROL + 16, 1), [0]);
        };
        pairs(&mut driver, 2);
        let counts = flood(&mut driver, &mut buffers);
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
        // Both queues send, too.
        let socket = UdpSocket::bind((Ipv4Addr::from(HOST), 5000)).unwrap();
        socket.set_read_timeout(MINUTE).unwrap();
        for queue in [1, 3] {
            let mut bytes = vec![1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
            bytes.extend(udp((6000, 5000), b"hello"));
            driver.put(TX, &bytes);
            assert_eq!(
                driver.request(queue, &[desc(TX, bytes.len(), false)]),
                Some(0)
            );
            assert_eq!(socket.recv(&mut [0; 100]).unwrap(), 5);
        }
        pairs(&mut driver, 1);
        assert_eq!(flood(&mut driver, &mut buffers), [64, 0]);
        // A detached queue is an error to read, and no reason to spin.
        driver.run();
    });
}

#[test]
fn an_interface_that_goes_down_and_up_again_works() {
    in_namespace(|| {
        let mut driver = guest(1);
        let mut buffers = Buffers::new(&mut driver, 0, RX);
        set_up(false);
        for _ in 0..300 {
            send_unfinished(&mut driver, &udp((6000, 5000), b"lost"), 6, (0, 0, 0));
        }
        assert_eq!(counters(&driver).tx.get().errors, 300);
        set_up(true);
        let listener = TcpListener::bind((Ipv4Addr::from(HOST), 5000)).unwrap();
        drop(listener);
        let socket = UdpSocket::bind((Ipv4Addr::from(HOST), 5000)).unwrap();
        socket.set_read_timeout(MINUTE).unwrap();
        send_unfinished(&mut driver, &udp((6000, 5000), b"hello"), 6, (0, 0, 0));
        let mut bytes = [0; 100];
        let (len, from) = socket.recv_from(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"hello");
        // Going down has cost the neighbour its entry, so the host asks first; that is a frame, and comes.
        socket.send_to(b"hello", from).unwrap();
        driver.run_until(|driver| (!buffers.take(driver).is_empty()).then_some(()));
    });
}

#[test]
fn an_interface_that_is_deleted_stops_nothing() {
    in_namespace(|| {
        let mut driver = guest(1);
        Buffers::new(&mut driver, 0, RX);
        // The program is in the namespace of the thread that starts it.
        let mut ip = std::process::Command::new("ip");
        match ip.args(["link", "delete", NAME]).status() {
            Ok(status) => assert!(status.success()),
            Err(error) => {
                println!("SKIPPED: no ip program: {error}");
                return;
            }
        }
        // It comes to rest, or `run` panics.
        driver.run();
        for _ in 0..300 {
            send_unfinished(&mut driver, &udp((6000, 5000), b"lost"), 6, (0, 0, 0));
        }
        assert_eq!(counters(&driver).tx.get().errors, 300);
        driver.transport.pause();
        driver.transport.resume();
        driver.run();
        driver.start(u64::MAX);
        assert!(!driver.is_lost());
    });
}

#[test]
fn headers_that_make_no_sense_are_the_guests_own_problem() {
    in_namespace(|| {
        let mut driver = guest(1);
        let frame = udp((6000, 5000), &[0; 100]);
        for (field, gso) in [
            (6, (1, 54, 0)),
            (6, (99, 0, 100)),
            (0xffff, (0, 0, 0)),
            (6, (4, 0xffff, 1)),
            (6, (1, 54, 1)),
        ] {
            send_unfinished(&mut driver, &frame, field, gso);
        }
        assert!(!driver.is_lost());
        let socket = UdpSocket::bind((Ipv4Addr::from(HOST), 5000)).unwrap();
        socket.set_read_timeout(MINUTE).unwrap();
        send_unfinished(&mut driver, &frame, 6, (0, 0, 0));
        assert_eq!(socket.recv(&mut [0; 200]).unwrap(), 100);
    });
}

#[test]
fn taps_made_otherwise_are_refused() {
    in_namespace(|| {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).open("/dev/net/tun").unwrap();
        request(&file, libc::TUNSETIFF, |request| {
            request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TAP).unwrap();
        });
        assert!(matches!(
            Tap::new(file.into()),
            Err(super::super::TapError::Flags { .. })
        ));
    });
}
