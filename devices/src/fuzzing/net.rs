//! A network interface: frames both ways, the control queue, the source filter, DHCP and the metadata service, whose HTTP is
//! also run without TCP around it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::json;

use super::block::rate;
use super::input::Input;
use super::script::{self, Host};
use crate::net::mmds::{Exchange, Mmds, MmdsConfig, Version};
use crate::net::{Lease, MacAddress, Net, NetBackend, NetConfig, SourceFilter, Tap};
use crate::testing::Driver;
use crate::{DeviceState, VirtioDevice};

const MAC: MacAddress = MacAddress([0x02, 0, 0x5e, 0x10, 0, 1]);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Bytes of virtio's header of a frame.
const HEADER: usize = 12;

struct Wire {
    config: NetConfig,
    pairs: usize,
    filtered: bool,
    ends: Vec<OwnedFd>,
    /// The last sequence number that the service sent, as far as the guest looked.
    acknowledged: u32,
}

impl Wire {
    fn backend(&mut self) -> NetBackend {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let pair = || {
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap()
        };
        let (ends, taps): (Vec<_>, Vec<_>) = (0..self.pairs).map(|_| pair()).unzip();
        self.ends = ends;
        let filter = SourceFilter {
            mac: MAC,
            addresses: vec![IpAddr::V4(GUEST), "fd00::2".parse().unwrap()],
        };
        NetBackend {
            ports: taps
                .into_iter()
                .map(|tap| Tap::socket(tap).into())
                .collect(),
            mmds: Some(service(Version::V1)),
            filter: self.filtered.then_some(filter),
            lease: Some(Lease {
                address: GUEST,
                prefix_length: 24,
                gateway: None,
                dns: vec![SERVICE],
            }),
        }
    }

    /// A segment from the guest to the metadata service.
    fn segment(&self, input: &mut Input<'_>) -> Vec<u8> {
        let flags = input.u8();
        let (port, sequence) = (input.u8() % 4, input.short_number());
        let payload = input.literal();
        let mut segment = Vec::new();
        segment.extend((4000 + u16::from(port)).to_be_bytes());
        segment.extend(80_u16.to_be_bytes());
        segment.extend(sequence.to_be_bytes());
        segment.extend(self.acknowledged.to_be_bytes());
        segment.extend([5 << 4, flags, 0x20, 0, 0, 0, 0, 0]);
        segment.extend(payload);
        let length = u16::try_from(segment.len()).unwrap();
        let mut pseudo = [GUEST.octets(), SERVICE.octets()].concat();
        pseudo.extend([0, 6]);
        pseudo.extend(length.to_be_bytes());
        pseudo.extend(&segment);
        let sum = checksum(&pseudo);
        segment[16..18].copy_from_slice(&sum);
        let mut packet = vec![0x45, 0];
        packet.extend((20 + length).to_be_bytes());
        packet.extend([0, 1, 0, 0, 64, 6, 0, 0]);
        packet.extend([GUEST.octets(), SERVICE.octets()].concat());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum);
        packet.extend(segment);
        packet
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

fn service(version: Version) -> Mmds {
    let config = MmdsConfig {
        version,
        ..MmdsConfig::default()
    };
    let mmds = Mmds::new(config).unwrap();
    let data =
        json!({ "latest": { "meta-data": { "ami-id": "ami", "list": [1, "a", null] }, "n": 5 } });
    mmds.put(data).unwrap();
    mmds
}

impl Host for Wire {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        let backend = self.backend();
        Box::new(Net::new(&self.config, backend).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Net(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Net::restore(state, self.backend()).unwrap())
    }

    fn request(&mut self, queue: usize, input: &mut Input<'_>) -> Vec<u8> {
        if queue == self.pairs * 2 {
            // Class, command, and what it is about.
            let mut bytes = vec![input.u8() % 6, input.u8() % 3];
            match input.u8() % 3 {
                0 => bytes.extend(input.number().to_le_bytes()),
                1 => bytes.extend(MAC.0),
                _ => bytes.extend(input.literal()),
            }
            return bytes;
        }
        // flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers
        let mut bytes = vec![0; HEADER];
        if input.flip() {
            bytes[0] = input.u8();
            bytes[1] = input.u8();
            for field in bytes[2..10].chunks_exact_mut(2) {
                field.copy_from_slice(&input.short_number().to_le_bytes()[..2]);
            }
        }
        bytes.extend([0xff; 6]);
        bytes.extend(MAC.0);
        match input.u8() % 8 {
            0 => bytes.extend(input.literal()),
            1 => {
                // Who has the service's address?
                bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
                bytes.extend(MAC.0);
                bytes.extend(GUEST.octets());
                bytes.extend([0; 6]);
                bytes.extend(SERVICE.octets());
            }
            2 => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40]);
                bytes.extend(input.literal());
            }
            3 => {
                bytes.extend([8, 0]);
                bytes.extend(input.literal());
            }
            _ => {
                bytes.extend([8, 0]);
                bytes.extend(self.segment(input));
            }
        }
        bytes
    }

    fn act(&mut self, driver: &mut Driver, input: &mut Input<'_>) {
        let end = &self.ends[input.below(self.ends.len())];
        match input.u8() % 8 {
            0..=2 => {
                let mut frame = vec![0; HEADER];
                frame.extend(input.literal());
                frame.resize(
                    frame.len() + input.pick(&[0, 1, 60, 1500, 9000, 65_000]),
                    0x5a,
                );
                let _ = rustix::io::write(end, &frame);
            }
            3 => {
                let mut bytes = vec![0; 70_000];
                while rustix::io::read(end, &mut bytes).is_ok_and(|count| count > 0) {}
            }
            4 => self.acknowledged = input.u32(),
            5 => {
                let up = input.flip();
                driver
                    .transport
                    .with_device(|net: &mut Net| net.set_link(up));
            }
            6 => {
                driver.transport.with_device(Net::announce);
            }
            _ => {
                let limit = rate(input);
                driver.transport.with_device(|net: &mut Net| {
                    net.rx_limit().change(&limit);
                    net.tx_limit().change(&limit);
                });
            }
        }
    }
}

/// Bytes of connections to the metadata service, as a guest cuts them.
fn http(input: &mut Input<'_>) {
    let mmds = service(input.pick(&[Version::V1, Version::V2]));
    let mut exchange = Exchange::default();
    let mut now = Duration::from_secs(1);
    while !input.is_empty() {
        let bytes = input.literal();
        let taken = bytes.len().min(exchange.room());
        exchange.take(&bytes[..taken], &mmds, now);
        now += Duration::from_secs(input.short_number().into());
        let sent = exchange.output().len().min(1 + input.below(200));
        exchange.sent(sent, &mmds, now);
    }
}

pub(super) fn run(input: &mut Input<'_>) {
    let how = input.u8();
    if how & 7 == 7 {
        return http(input);
    }
    let mut config = NetConfig {
        mac: MAC,
        mtu: (how & 8 != 0).then_some(1400),
        rx_rate: Default::default(),
        tx_rate: Default::default(),
    };
    if how & 64 != 0 {
        (config.rx_rate, config.tx_rate) = (rate(input), rate(input));
    }
    let mut wire = Wire {
        config,
        pairs: if how & 16 == 0 { 1 } else { 2 },
        filtered: how & 32 != 0,
        ends: Vec::new(),
        acknowledged: 0,
    };
    script::run(&mut wire, input);
}
