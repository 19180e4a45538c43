//! Frames through a stream, in which they have only their lengths to tell them apart.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::guest::Buffers;
use super::*;
use crate::net::StreamError;

fn stream() -> (UnixStream, Vec<Port>) {
    let (host, device) = UnixStream::pair().unwrap();
    host.set_nonblocking(true).unwrap();
    (host, vec![Stream::new(device.into()).unwrap().into()])
}

fn interface(ports: Vec<Port>) -> NetBackend {
    NetBackend {
        ports,
        ..backend(Vec::new())
    }
}

fn guest(features: u64) -> (UnixStream, Driver) {
    let (host, ports) = stream();
    let net = Net::new(&config(), interface(ports)).unwrap();
    let mut driver = Driver::new(Box::new(net));
    driver.start(features);
    (host, driver)
}

/// The frame as it is in the stream.
fn prefixed(frame: &[u8]) -> Vec<u8> {
    let len = u32::try_from(frame.len()).unwrap();
    [&len.to_be_bytes()[..], frame].concat()
}

/// What came, all of it.
fn received(host: &mut UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; 70_000];
    while let Ok(len @ 1..) = host.read(&mut piece) {
        all.extend(&piece[..len]);
    }
    all
}

/// A stream as a backend, for the suite.
struct Peer(Option<UnixStream>);

impl Peer {
    fn renew(&mut self) -> NetBackend {
        let (host, ports) = stream();
        self.0 = Some(host);
        interface(ports)
    }
}

impl Fixture for Peer {
    fn new() -> Self {
        Self(None)
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Net::new(&config(), self.renew()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Net(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Net::restore(state, self.renew()).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        let host = self.0.as_mut().unwrap();
        // What a hostile driver sent over and over may fill the stream.
        while !received(host).is_empty() {
            driver.run();
        }
        let bytes = frame(600, 1);
        host.write_all(&prefixed(&bytes)).unwrap();
        driver.put(RX, &[0xee; 1024]);
        offer(driver, 0, RX, 1024);
        let used = driver.rings[0].used();
        assert_eq!(used.last().map(|(_, len)| *len), Some(612));
        assert_eq!(driver.get(RX, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(driver.get(RX + 12, 600), bytes);
        let bytes = frame(700, 2);
        send(driver, 1, &bytes);
        assert_eq!(received(host), prefixed(&bytes));
        assert_eq!(driver.rings[1].used().len(), 1);
    }
}

lifecycle_suite!(lifecycle, Peer);

#[test]
fn nothing_is_offloaded_to_a_stream() {
    let (_host, ports) = stream();
    let net = Net::new(&config(), interface(ports)).unwrap();
    // Checksums, segmentation both ways, several queues.
    let offloads = [0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 22, 54, 55, 56];
    for bit in offloads {
        assert_eq!(net.features() & 1 << bit, 0, "feature {bit}");
    }
    let mergeable_mac_status = MRG_RXBUF | 1 << 5 | 1 << 16;
    assert_eq!(net.features() & mergeable_mac_status, mergeable_mac_status);
}

#[test]
fn frames_that_come_in_pieces_and_together_are_told_apart() {
    let (mut host, mut driver) = guest(u64::MAX);
    let mut buffers = Buffers::new(&mut driver, 0, RX);
    let frames: Vec<_> = (0..3).map(|salt| frame(60 + salt * 700, salt)).collect();
    let all: Vec<u8> = frames.iter().flat_map(|frame| prefixed(frame)).collect();
    for cut in [1, 3, 4, 5, 63, 64, 66, 70, 900] {
        let (first, second) = all.split_at(cut);
        let mut came = Vec::new();
        for part in [first, second] {
            host.write_all(part).unwrap();
            driver.run();
            came.extend(buffers.take(&mut driver));
        }
        let came: Vec<_> = came.iter().map(|frame| &frame[12..]).collect();
        assert_eq!(came, frames, "cut at {cut}");
    }
    assert_eq!(counters(&driver).rx.get().packets, 27);
}

#[test]
fn the_largest_frame_goes_both_ways() {
    let (mut host, mut driver) = guest(u64::MAX);
    let mut buffers = Buffers::new(&mut driver, 0, RX);
    let large = frame(65_549, 3);
    host.write_all(&prefixed(&large)).unwrap();
    driver.run();
    assert_eq!(buffers.take(&mut driver)[0][12..], large);
    send(&mut driver, 1, &large);
    assert_eq!(received(&mut host), prefixed(&large));
}

#[test]
fn a_full_stream_holds_frames_back_and_loses_none() {
    let (mut host, mut driver) = guest(u64::MAX);
    let mut sent = Vec::new();
    for salt in 0..40 {
        let frame = frame(30_000, salt);
        let at = TX + 0x1_0000 * (u64::try_from(salt).unwrap() % 6);
        if driver.rings[1].used().is_empty() && salt > 0 {
            break;
        }
        driver.put(at, &[0; HEADER]);
        driver.put(at + 0x100, &frame);
        let buffers = [
            desc(at, HEADER, false),
            desc(at + 0x100, frame.len(), false),
        ];
        driver.rings[1].add(&buffers);
        // It comes to rest, or this panics.
        driver.kick(1);
        sent.extend(prefixed(&frame));
    }
    assert!(sent.len() < 30 * 30_000, "it never was full");
    let mut came = Vec::new();
    while came.len() < sent.len() {
        let piece = received(&mut host);
        assert!(!piece.is_empty(), "{} of {} came", came.len(), sent.len());
        came.extend(piece);
        driver.run();
    }
    assert!(came == sent);
    assert_eq!(driver.rings[1].used().len(), 1);
}

#[test]
fn a_part_of_a_frame_that_went_is_followed_by_the_rest_after_a_reset() {
    let (mut host, mut driver) = guest(u64::MAX);
    let frame = frame(60_000, 5);
    let mut sent = 0;
    loop {
        send(&mut driver, 1, &frame);
        if driver.rings[1].used().is_empty() {
            break;
        }
        sent += 1;
    }
    driver.start(u64::MAX);
    let mut came = Vec::new();
    for _ in 0..100 {
        came.extend(received(&mut host));
        driver.run();
    }
    // What had not been taken is the old driver's, and gone with it.
    assert!(came == prefixed(&frame).repeat(sent));
}

#[test]
fn a_peer_that_goes_pulls_the_cable_out() {
    let (host, mut driver) = guest(u64::MAX);
    let status = |driver: &Driver| {
        let mut status = [0];
        driver.transport.read(0x106, &mut status);
        status[0]
    };
    assert_eq!(status(&driver), 1);
    drop(host);
    offer(&mut driver, 0, RX, 2048);
    assert_eq!(status(&driver), 0);
    // What is sent now is lost, and nobody waits.
    send(&mut driver, 1, &frame(100, 0));
    assert_eq!(driver.rings[1].used().len(), 1);
    assert_eq!(counters(&driver).tx.get().errors, 1);
    driver.start(u64::MAX);
    assert_eq!(status(&driver), 0);
}

#[test]
fn a_length_that_no_frame_has_ends_the_stream() {
    for len in [0, 13, 65_555, u32::MAX] {
        let (mut host, mut driver) = guest(u64::MAX);
        host.write_all(&len.to_be_bytes()).unwrap();
        host.write_all(&[0; 100]).unwrap();
        offer(&mut driver, 0, RX, 2048);
        assert!(driver.rings[0].used().is_empty(), "{len}");
        let mut status = [1];
        driver.transport.read(0x106, &mut status);
        assert_eq!(status, [0], "{len}");
    }
}

#[test]
fn what_is_no_stream_and_several_of_them_are_refused() {
    let file = tempfile::tempfile().unwrap();
    let (apart, _) = Host::pair();
    let alone = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    for fd in [file.into(), apart, alone] {
        assert!(matches!(Stream::new(fd), Err(StreamError::NoStream(_))));
    }
    let (_one, mut ports) = stream();
    let (_other, more) = stream();
    ports.extend(more);
    let refused = Net::new(&config(), interface(ports)).unwrap_err();
    assert!(matches!(refused, NetError::StreamPairs(2)), "{refused}");
}
