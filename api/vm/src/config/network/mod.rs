//! Network interfaces.

mod address;
mod lease;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use address::{MacAddress, NoMacAddress};
pub use lease::DhcpLease;

use super::id::{Kind, MAX_ID};
use super::number::{in_range, number, optional};
use super::{ConfigError, HostPath, RateLimiter, path, rate_limiter};

/// Each has an interrupt line, and the other devices need some too.
pub(crate) const INTERFACES: Kind = Kind {
    section: "network-interfaces",
    field: "iface_id",
    max_id: MAX_ID,
    most: 8,
};

/// One network interface (virtio-net).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// The name of the interface: 1 to 64 letters, digits and underscores.
    pub iface_id: String,
    /// The name of a TAP device that exists, up to 15 bytes; or `fd:NAME` for one that is open already. Of a
    /// [stream](NetworkBackend::Stream) always `fd:NAME`.
    pub host_dev_name: HostPath,
    /// The guest's hardware address. Without it one is made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_mac: Option<MacAddress>,
    /// The largest packet, in bytes, that the guest is told of: 68 to 65535. Without it the guest decides.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, _, { NetworkInterface::MIN_MTU as u64 }, { u16::MAX as u64 }>"
    )]
    pub mtu: Option<u16>,
    /// Limits of what the guest receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits of what the guest sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
    /// Pairs of queues, 1 to [`NetworkInterface::MAX_QUEUES`]. With `fd:NAME`, each has a descriptor: `fd:NAME`, `fd:NAME.1`,
    /// `fd:NAME.2` and so on. Hull's own field.
    #[serde(
        default = "one",
        skip_serializing_if = "super::is_one",
        deserialize_with = "number::<_, _, 1, { NetworkInterface::MAX_QUEUES as u64 }>"
    )]
    pub queues: u8,
    /// The only IP addresses from which the guest can send, with `guest_mac` as the only hardware address; of an empty list,
    /// only that is checked. Without the field it sends from whatever it likes. Hull's own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_addresses: Option<Vec<IpAddr>>,
    /// Whether the cable is plugged in. Hull's own field.
    #[serde(default, skip_serializing_if = "LinkState::is_up")]
    pub link: LinkState,
    /// What `host_dev_name` is. Hull's own field.
    #[serde(default, skip_serializing_if = "NetworkBackend::is_tap")]
    pub backend: NetworkBackend,
    /// What a guest that asks by DHCP is told, by the interface itself. Without the field its questions go to the network. Hull's
    /// own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<DhcpLease>,
}

/// What is behind an interface on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkBackend {
    /// A TAP device.
    #[default]
    Tap,
    /// A connected Unix stream socket on which each frame follows its length, 32 bits, big-endian, as `passt` has it. It has one
    /// pair of queues and no offloads.
    Stream,
}

/// Whether the cable is plugged in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// It is.
    #[default]
    Up,
    /// It is not: the guest sees no carrier, and packets are dropped.
    Down,
}

/// A change of an interface while the machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkUpdate {
    /// Which one.
    pub iface_id: String,
    /// Limits to be put in place of those there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits to be put in place of those there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
    /// See [`NetworkInterface::allowed_addresses`]. Hull's own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_addresses: Option<Vec<IpAddr>>,
    /// See [`NetworkInterface::link`]. Hull's own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
}

impl NetworkInterface {
    /// The least that IPv4 works with (RFC 791, 3.2).
    pub const MIN_MTU: u16 = 68;
    /// What the device has room for.
    pub const MAX_QUEUES: u8 = 16;
    /// Most entries of `allowed_addresses`: each packet is compared with all of them.
    pub const MAX_ADDRESSES: usize = 64;
    /// `IFNAMSIZ` of Linux without the zero at its end.
    const MAX_NAME: usize = 15;

    /// An interface without anything but what it must have.
    #[must_use]
    pub fn new(iface_id: impl Into<String>, host_dev_name: HostPath) -> Self {
        Self {
            iface_id: iface_id.into(),
            host_dev_name,
            guest_mac: None,
            mtu: None,
            rx_rate_limiter: None,
            tx_rate_limiter: None,
            queues: 1,
            allowed_addresses: None,
            link: LinkState::Up,
            backend: NetworkBackend::Tap,
            dhcp: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        INTERFACES.check(&self.iface_id)?;
        check_tap("network-interfaces.host_dev_name", &self.host_dev_name)?;
        if let Some(mac) = self.guest_mac
            && !mac.is_of_one_station()
        {
            return Err(ConfigError::Value {
                field: "network-interfaces.guest_mac",
                value: mac.to_string(),
                must: "the address of one station: neither zero nor a multicast address",
            });
        }
        if let Some(mtu) = self.mtu {
            let (least, most) = (Self::MIN_MTU.into(), u16::MAX.into());
            in_range("network-interfaces.mtu", mtu, least, most)?;
        }
        let most = Self::MAX_QUEUES.into();
        in_range("network-interfaces.queues", self.queues, 1, most)?;
        self.check_stream()?;
        self.dhcp.as_ref().map_or(Ok(()), DhcpLease::validate)?;
        check_limiters(self.rx_rate_limiter.as_ref(), self.tx_rate_limiter.as_ref())?;
        check_addresses(self.allowed_addresses.as_deref())
    }

    fn check_stream(&self) -> Result<(), ConfigError> {
        if self.backend == NetworkBackend::Tap {
            return Ok(());
        }
        if self.host_dev_name.as_fd().is_none() {
            return Err(ConfigError::Value {
                field: "network-interfaces.host_dev_name",
                value: self.host_dev_name.to_string(),
                must: "fd:NAME, a connected socket that was handed over, for the backend is a stream",
            });
        }
        // There is nothing that would tell flows apart.
        in_range("network-interfaces.queues of a stream", self.queues, 1, 1)
    }

    /// Takes over what an update names.
    pub(crate) fn update(&mut self, update: NetworkUpdate) {
        rate_limiter::update(&mut self.rx_rate_limiter, update.rx_rate_limiter);
        rate_limiter::update(&mut self.tx_rate_limiter, update.tx_rate_limiter);
        if update.allowed_addresses.is_some() {
            self.allowed_addresses = update.allowed_addresses;
        }
        self.link = update.link.unwrap_or(self.link);
    }
}

impl NetworkUpdate {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        INTERFACES.check(&self.iface_id)?;
        check_limiters(self.rx_rate_limiter.as_ref(), self.tx_rate_limiter.as_ref())?;
        check_addresses(self.allowed_addresses.as_deref())
    }
}

impl NetworkBackend {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_tap(&self) -> bool {
        *self == Self::Tap
    }
}

impl LinkState {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_up(&self) -> bool {
        *self == Self::Up
    }
}

/// Checks the name of a TAP device, unless it is a descriptor.
pub(crate) fn check_tap(field: &'static str, name: &HostPath) -> Result<(), ConfigError> {
    path::check_some(field, Some(name))?;
    let text = name.as_str();
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if name.as_fd().is_some() || (plain && text.len() <= NetworkInterface::MAX_NAME) {
        return Ok(());
    }
    Err(ConfigError::Value {
        field,
        value: text.to_owned(),
        must: "the name of a TAP device, which has at most 15 bytes and neither spaces nor slashes, or fd:NAME",
    })
}

fn check_limiters(rx: Option<&RateLimiter>, tx: Option<&RateLimiter>) -> Result<(), ConfigError> {
    rate_limiter::check_some("network-interfaces.rx_rate_limiter.refill_time", rx)?;
    rate_limiter::check_some("network-interfaces.tx_rate_limiter.refill_time", tx)
}

fn check_addresses(addresses: Option<&[IpAddr]>) -> Result<(), ConfigError> {
    let count = addresses.map_or(0, <[_]>::len);
    if count <= NetworkInterface::MAX_ADDRESSES {
        return Ok(());
    }
    Err(ConfigError::TooMany {
        section: "network-interfaces.allowed_addresses",
        count,
        most: NetworkInterface::MAX_ADDRESSES,
    })
}

fn one() -> u8 {
    1
}
