//! Frames as a guest makes them, and buffers for those that come.

use std::collections::{HashMap, VecDeque};

use super::MAC;
use crate::testing::{Driver, desc};

/// Someone else's Ethernet address.
pub(super) const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

fn ethernet(kind: [u8; 2]) -> Vec<u8> {
    [&[0xff; 6][..], &MAC.0, &kind].concat()
}

/// An IPv4 packet with 8 bytes of payload.
pub(super) fn ipv4(source: [u8; 4], protocol: u8) -> Vec<u8> {
    let mut frame = ethernet([8, 0]);
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend(source);
    frame.extend([10, 9, 0, 1]);
    frame.extend([0; 8]);
    frame
}

/// An ARP request.
pub(super) fn arp(mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = ethernet([8, 6]);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

pub(super) fn ipv6(source: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet([0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend([next, 255]);
    frame.extend(source);
    frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend(payload);
    frame
}

/// A message of neighbour discovery with a target, and an Ethernet address as its option.
pub(super) fn solicitation(kind: u8, target: [u8; 16], option: Option<(u8, [u8; 6])>) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target);
    if let Some((number, mac)) = option {
        message.extend([number, 1]);
        message.extend(mac);
    }
    message
}

/// The Internet checksum over several pieces, all but the last of even length.
pub(super) fn checksum(pieces: &[&[u8]]) -> u16 {
    let bytes = pieces.concat();
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// A whole IPv4 packet in a frame to `mac`.
pub(super) fn packet(
    mac: [u8; 6],
    addresses: ([u8; 4], [u8; 4]),
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(addresses.0);
    header.extend(addresses.1);
    let sum = !checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&mac[..], &MAC.0, &[8, 0], &header, payload].concat()
}

/// The part of a TCP or UDP checksum that a guest writes when the host is to do the rest (virtio 1.2, section 5.1.6.2).
pub(super) fn pseudo(addresses: ([u8; 4], [u8; 4]), protocol: u8, len: usize) -> [u8; 2] {
    let len = u16::try_from(len).unwrap().to_be_bytes();
    checksum(&[&addresses.0, &addresses.1, &[0, protocol], &len]).to_be_bytes()
}

/// The guest's receive buffers, each of a page, offered again as soon as they are read.
pub(super) struct Buffers {
    queue: usize,
    base: u64,
    count: u16,
    free: VecDeque<u16>,
    heads: HashMap<u16, u16>,
}

impl Buffers {
    pub(super) fn new(driver: &mut Driver, queue: usize, base: u64) -> Self {
        let mut buffers = Self {
            queue,
            base,
            count: 24,
            free: (0..24).collect(),
            heads: Default::default(),
        };
        buffers.refill(driver);
        buffers
    }

    fn refill(&mut self, driver: &mut Driver) {
        while let Some(index) = self.free.pop_front() {
            let at = self.base + u64::from(index) * 4096;
            let head = driver.rings[self.queue].add(&[desc(at, 4096, true)]);
            self.heads.insert(head, index);
        }
        driver.kick(u32::try_from(self.queue).unwrap());
    }

    /// The frames that came, with virtio's headers.
    pub(super) fn take(&mut self, driver: &mut Driver) -> Vec<Vec<u8>> {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        let mut missing = 0;
        for (head, len) in driver.rings[self.queue].used() {
            let index = self.heads.remove(&head).unwrap();
            assert!(index < self.count);
            let at = self.base + u64::from(index) * 4096;
            let bytes = driver.get(at, usize::try_from(len).unwrap());
            self.free.push_back(index);
            if missing == 0 {
                missing = u16::from_le_bytes([bytes[10], bytes[11]]);
                frames.push(Vec::new());
            }
            missing -= 1;
            frames.last_mut().unwrap().extend(bytes);
        }
        assert_eq!(missing, 0, "the driver saw a part of a frame");
        self.refill(driver);
        frames
    }

    /// Waits for frames of a protocol over IPv4; there are others that the host sends by itself.
    pub(super) fn wait(&mut self, driver: &mut Driver, protocol: u8) -> Vec<Vec<u8>> {
        driver.run_until(|driver| {
            let mut frames = self.take(driver);
            frames.retain(|frame| frame[24..26] == [8, 0] && frame[35] == protocol);
            (!frames.is_empty()).then_some(frames)
        })
    }
}
