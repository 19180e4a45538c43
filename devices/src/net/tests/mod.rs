//! What a driver sees of a network interface. In place of a TAP there is a socket that keeps messages apart; `tap.rs` has
//! real ones.

mod control;
mod dhcp;
mod filter;
mod guest;
mod mmds;
mod stream;
mod tap;
mod traffic;

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::mmds::Mmds;
use super::{MacAddress, Net, NetBackend, NetConfig, NetError, Port, SourceFilter, Stream, Tap};
use crate::rate::RateConfig;
use crate::testing::{Driver, Fixture, desc, lifecycle_suite};
use crate::{DeviceState, VirtioDevice};

const MAC: MacAddress = MacAddress([0x02, 0, 0x5e, 0x10, 0, 1]);
const HEADER: usize = 12;
/// Where buffers of these tests lie.
const RX: u64 = 0x1_0000;
const TX: u64 = 0x8_0000;
const CONTROL: u64 = 0xf_0000;

const MRG_RXBUF: u64 = 1 << 15;

/// The host's ends of an interface.
struct Host(Vec<OwnedFd>);

impl Host {
    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        rustix::net::socketpair(family, kind, flags, None).unwrap()
    }

    /// As many queues, and the taps of their other ends.
    fn new(pairs: usize) -> (Self, Vec<Tap>) {
        let (host, device): (_, Vec<_>) = (0..pairs).map(|_| Self::pair()).unzip();
        (Self(host), device.into_iter().map(Tap::socket).collect())
    }

    /// Sends a frame to the guest, with an empty virtio header.
    fn send(&self, queue: usize, frame: &[u8]) {
        let bytes = [&[0; HEADER], frame].concat();
        assert_eq!(rustix::io::write(&self.0[queue], &bytes), Ok(bytes.len()));
    }

    /// Takes a frame of the guest, without virtio's header.
    fn receive(&self, queue: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 70_000];
        let len = rustix::io::read(&self.0[queue], &mut bytes).ok()?;
        Some(bytes[HEADER..len].to_vec())
    }
}

fn config() -> NetConfig {
    NetConfig {
        mac: MAC,
        mtu: Some(1400),
        rx_rate: RateConfig::default(),
        tx_rate: RateConfig::default(),
    }
}

fn backend(taps: Vec<Tap>) -> NetBackend {
    NetBackend {
        ports: taps.into_iter().map(Port::from).collect(),
        mmds: None,
        filter: None,
        lease: None,
    }
}

/// A frame with a recognisable payload.
fn frame(len: usize, salt: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(MAC.0);
    frame.extend([0x88, 0xb5]);
    frame.extend((14..len).map(|i| u8::try_from((i * 7 + i / 251 + salt) % 256).unwrap()));
    frame
}

/// A guest with one interface, ready to work.
fn ready(config: &NetConfig, features: u64) -> (Host, Driver) {
    let (host, taps) = Host::new(1);
    let mut driver = Driver::new(Box::new(Net::new(config, backend(taps)).unwrap()));
    driver.start(features);
    (host, driver)
}

/// Offers a receive buffer.
fn offer(driver: &mut Driver, queue: usize, at: u64, len: usize) {
    driver.rings[queue].add(&[desc(at, len, true)]);
    driver.kick(u32::try_from(queue).unwrap());
}

/// Sends a frame in two buffers, with an empty virtio header; the request is not waited for.
fn send(driver: &mut Driver, queue: usize, frame: &[u8]) {
    driver.put(TX, &[0; HEADER]);
    driver.put(TX + 0x100, frame);
    driver.rings[queue].add(&[
        desc(TX, HEADER, false),
        desc(TX + 0x100, frame.len(), false),
    ]);
    driver.kick(u32::try_from(queue).unwrap());
}

fn counters(driver: &Driver) -> std::sync::Arc<super::Counters> {
    let counters = driver.transport.with_device(|net: &mut Net| net.counters());
    counters.unwrap()
}

/// One interface with `PAIRS` pairs of queues.
struct Interface<const PAIRS: usize>(Host);

impl<const PAIRS: usize> Interface<PAIRS> {
    fn renew(&mut self) -> NetBackend {
        let (host, taps) = Host::new(PAIRS);
        self.0 = host;
        let mmds = Mmds::new(Default::default()).unwrap();
        let filter = SourceFilter {
            mac: MAC,
            addresses: Vec::new(),
        };
        NetBackend {
            mmds: Some(mmds),
            filter: Some(filter),
            ..backend(taps)
        }
    }
}

impl<const PAIRS: usize> Fixture for Interface<PAIRS> {
    fn new() -> Self {
        Self(Host(Vec::new()))
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
        let bytes = frame(600, 1);
        self.0.send(0, &bytes);
        driver.put(RX, &[0xee; 1024]);
        offer(driver, 0, RX, 1024);
        let used = driver.rings[0].used();
        assert_eq!(used.last().map(|(_, len)| *len), Some(612));
        // One buffer, in an otherwise empty header.
        assert_eq!(driver.get(RX, 12)[10..], [1, 0]);
        assert_eq!(driver.get(RX + 12, 600), bytes);

        // What a hostile driver sent over and over may fill the host's end.
        while self.0.receive(0).is_some() {}
        let bytes = frame(700, 2);
        send(driver, 1, &bytes);
        assert_eq!(self.0.receive(0), Some(bytes));
        assert_eq!(driver.rings[1].used().len(), 1);
    }
}

lifecycle_suite!(lifecycle, Interface<1>);
lifecycle_suite!(lifecycle_with_two_pairs, Interface<2>);

#[test]
fn what_can_not_be_is_refused() {
    let (_host, taps) = Host::new(17);
    assert!(matches!(
        Net::new(&config(), backend(taps)),
        Err(NetError::Pairs(17))
    ));
    assert!(matches!(
        Net::new(&config(), backend(Vec::new())),
        Err(NetError::Pairs(0))
    ));
    let new = |config: NetConfig| Net::new(&config, backend(Host::new(1).1));
    let small = NetConfig {
        mtu: Some(67),
        ..config()
    };
    assert!(matches!(new(small), Err(NetError::Mtu(67))));
    for bytes in [[0; 6], [1, 2, 3, 4, 5, 6]] {
        let config = NetConfig {
            mac: MacAddress(bytes),
            ..config()
        };
        assert!(matches!(new(config), Err(NetError::Mac(_))));
    }
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(
        Tap::new(file.into()),
        Err(super::TapError::NoTap(_))
    ));
}

#[test]
fn saved_states_that_can_not_be_are_refused() {
    let DeviceState::Net(good) = Net::new(&config(), backend(Host::new(2).1)).unwrap().save()
    else {
        panic!("not the state of an interface");
    };
    let restore = |state: &super::NetState, pairs| Net::restore(state, backend(Host::new(pairs).1));
    assert!(restore(&good, 2).is_ok());
    assert!(matches!(
        restore(&good, 1),
        Err(NetError::OtherPairs { saved: 2, given: 1 })
    ));
    for active in [0, 3] {
        let state = super::NetState {
            active_pairs: active,
            ..good.clone()
        };
        assert!(matches!(restore(&state, 2), Err(NetError::Active { .. })));
    }
}

#[test]
fn addresses_are_read_and_written() {
    assert_eq!("02:00:5E:10:00:01".parse(), Ok(MAC));
    assert_eq!(MAC.to_string(), "02:00:5e:10:00:01");
    for wrong in [
        "",
        "02:00:5e:10:00",
        "02:00:5e:10:00:01:02",
        "2:0:5e:10:0:1",
        "02-00-5e-10-00-01",
        "+2:00:5e:10:00:01",
    ] {
        assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
    }
}
