//! The network of the machine, which is the container's.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Another network for a container, which may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// All interfaces, beside loopback. A device that is not named goes down and loses its addresses; what does not change is not
    /// touched, so connections over it live on.
    pub interfaces: Vec<Interface>,
    /// The new content of `/etc/hosts`; `None` leaves it.
    pub hosts: Option<String>,
    /// The new content of `/etc/resolv.conf`; `None` leaves it.
    pub resolv_conf: Option<String>,
}

/// A network interface of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Which virtio network device it is, counted from 0 in the order in which the kernel finds them: that of their MMIO slots.
    pub device: u32,
    /// Its name in the container, 1 to 15 bytes: `eth0`.
    pub name: String,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its MTU in bytes; 0 leaves the device's.
    pub mtu: u32,
    /// Its addresses. They can be used at once: IPv6 does not look for duplicates of them. An interface without one of IPv6 has no IPv6.
    pub addresses: Vec<Address>,
    /// Where packets for everywhere else go, at most one of each family, each in the subnet of an address.
    pub gateways: Vec<IpAddr>,
}

/// An address and its subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// How many bits of it are the subnet's.
    pub prefix: u8,
}
