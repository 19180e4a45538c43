//! What a user may say about a network interface, and what follows for the driver (virtio 1.2, sections 5.1.3 and 5.1.4).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_MAC_ADDR,
    VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_ANNOUNCE,
    VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6,
    VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_USO,
    VIRTIO_NET_F_MAC, VIRTIO_NET_F_MQ, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_STATUS,
};

use super::dhcp::Lease;
use super::filter::SourceFilter;
use super::mmds::Mmds;
use super::port::Port;
use crate::rate::RateConfig;

/// The most queue pairs, and so descriptors, of one interface.
pub const MAX_PAIRS: usize = 16;
/// The smallest MTU: IPv4 allows no smaller one (RFC 791).
pub(super) const MIN_MTU: u16 = 68;

/// An Ethernet address, written `02:00:5e:10:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it can be an interface's own: not a group's, and not all zeros.
    #[must_use]
    pub fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address: write one like 02:00:5e:10:00:01")]
pub struct NoMacAddress(pub String);

impl FromStr for MacAddress {
    type Err = NoMacAddress;

    fn from_str(text: &str) -> Result<Self, NoMacAddress> {
        let parse = || {
            let mut bytes = [0; 6];
            let mut parts = text.split(':');
            for byte in &mut bytes {
                let part = parts.next().filter(|part| part.len() == 2)?;
                let is_hex = part.bytes().all(|digit| digit.is_ascii_hexdigit());
                *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_hex)?;
            }
            parts.next().is_none().then_some(Self(bytes))
        };
        parse().ok_or_else(|| NoMacAddress(text.into()))
    }
}

/// What a user may say.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The guest's address.
    pub mac: MacAddress,
    /// The MTU that the guest is told, in bytes, from 68 on; without it the guest takes its default, 1500.
    pub mtu: Option<u16>,
    /// Limits for what comes to the guest.
    pub rx_rate: RateConfig,
    /// Limits for what the guest sends. The metadata service is not limited.
    pub tx_rate: RateConfig,
}

/// The host's end.
#[derive(Debug)]
pub struct NetBackend {
    /// One descriptor for each pair of queues: up to [`MAX_PAIRS`] of the same TAP, or one stream.
    pub ports: Vec<Port>,
    /// The metadata service, if the guest is to reach it through this interface.
    pub mmds: Option<Mmds>,
    /// The addresses that the guest may use; without it, any.
    pub filter: Option<SourceFilter>,
    /// What a guest that asks by DHCP is told; without it, its questions go to the network.
    pub lease: Option<Lease>,
}

/// Offloads of frames to the guest, which the guest can switch while it runs. The numbers of the features are those of the
/// command's bits (section 5.1.6.5.6.1).
pub(super) const GUEST_OFFLOADS: u64 = bits(&[
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_GUEST_ECN,
    VIRTIO_NET_F_GUEST_USO4,
    VIRTIO_NET_F_GUEST_USO6,
]);

const ALWAYS: u64 = bits(&[
    VIRTIO_NET_F_MAC,
    VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_STATUS,
    VIRTIO_NET_F_CTRL_VQ,
    VIRTIO_NET_F_CTRL_RX,
    VIRTIO_NET_F_GUEST_ANNOUNCE,
    VIRTIO_NET_F_CTRL_MAC_ADDR,
]);

/// What a TAP can do besides.
const OFFLOADS: u64 = bits(&[
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_GUEST_ECN,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_HOST_ECN,
]);

/// UDP segmentation, which only newer hosts know. (UDP fragmentation, UFO, is offered by none: Linux has given it up.)
const USO: u64 = bits(&[
    VIRTIO_NET_F_GUEST_USO4,
    VIRTIO_NET_F_GUEST_USO6,
    VIRTIO_NET_F_HOST_USO,
]);

/// The features of an interface with these descriptors. Asking for them changes what they offload.
pub(super) fn features(has_mtu: bool, ports: &[Port]) -> u64 {
    let either = |condition: bool, features: u64| if condition { features } else { 0 };
    let offloads = !ports.iter().any(Port::is_stream);
    let host_knows_uso = ports.first().is_some_and(Port::knows_uso);
    ALWAYS
        | either(offloads, OFFLOADS)
        | either(has_mtu, 1 << VIRTIO_NET_F_MTU)
        | either(ports.len() > 1, 1 << VIRTIO_NET_F_MQ)
        | either(host_knows_uso, USO)
}

/// Whether a feature is among others.
pub(super) fn has(features: u64, bit: u32) -> bool {
    features & 1 << bit != 0
}

/// The configuration space up to the MTU.
pub(super) fn config_space(mac: MacAddress, status: u16, pairs: u16, mtu: u16) -> [u8; 12] {
    let mut space = [0; 12];
    space[..6].copy_from_slice(&mac.0);
    space[6..8].copy_from_slice(&status.to_le_bytes());
    space[8..10].copy_from_slice(&pairs.to_le_bytes());
    space[10..].copy_from_slice(&mtu.to_le_bytes());
    space
}

const fn bits(numbers: &[u32]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < numbers.len() {
        bits |= 1 << numbers[index];
        index += 1;
    }
    bits
}
