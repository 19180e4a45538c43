//! Network interfaces, and the metadata service that answers on some of them.

use hull_devices::DeviceState;
use hull_devices::net::mmds::{Mmds, MmdsConfig, Version};
use hull_devices::net::{Lease, MacAddress, Net, NetBackend, NetConfig, SourceFilter};
use hull_vm_api::config::{DhcpLease, LinkState, MmdsVersion, NetworkInterface};
use hull_vm_api::{Draft, Metadata};
use rustix::rand::{GetRandomFlags, getrandom};

use super::lane::Threads;
use super::{Made, Name, rate, saved, tap};
use crate::error::StartError;
use crate::files::Files;

/// The metadata service, if there is one.
pub(super) fn mmds(config: &Draft, metadata: &Metadata) -> Result<Option<Mmds>, StartError> {
    let Some(config) = &config.mmds_config else {
        return Ok(None);
    };
    let mmds = Mmds::new(MmdsConfig {
        version: match config.version {
            MmdsVersion::V1 => Version::V1,
            MmdsVersion::V2 => Version::V2,
        },
        ipv4_address: config.address(),
        imds_compat: config.imds_compat,
        limit: metadata.limit(),
    })?;
    if !metadata.value().is_null() {
        mmds.put(metadata.value().clone())?;
    }
    Ok(Some(mmds))
}

/// Makes an interface, or restores it: then it has the address that its guest has learned.
pub(super) fn make(
    interface: &NetworkInterface,
    mmds: Option<&Mmds>,
    files: &Files,
    saved: Option<&DeviceState>,
) -> Result<Made, StartError> {
    let name = Name::Network(interface.iface_id.clone());
    let state = match saved {
        None => None,
        Some(DeviceState::Net(state)) => Some(state),
        Some(_) => return Err(saved::other(&name)),
    };
    let mac = match (state, interface.guest_mac) {
        (Some(state), _) => state.mac,
        (None, Some(mac)) => MacAddress(mac.0),
        (None, None) => made_up()?,
    };
    let config = NetConfig {
        mac,
        mtu: interface.mtu,
        rx_rate: rate::limits(interface.rx_rate_limiter.as_ref()),
        tx_rate: rate::limits(interface.tx_rate_limiter.as_ref()),
    };
    let backend = NetBackend {
        ports: tap::open(interface, files)?,
        mmds: mmds.cloned(),
        filter: filter(interface, mac),
        lease: interface.dhcp.as_ref().map(lease),
    };
    let made = |source| StartError::Net {
        id: interface.iface_id.clone(),
        source,
    };
    let net = match state {
        None => {
            let mut net = Net::new(&config, backend).map_err(made)?;
            net.set_link(interface.link == LinkState::Up);
            net
        }
        Some(state) => Net::restore(state, backend).map_err(made)?,
    };
    Ok(Made {
        rates: vec![net.rx_limit(), net.tx_limit()],
        device: Box::new(net),
        threads: Threads::Alike(1),
        fence: None,
        first: None,
    })
}

/// The addresses that the guest may use, if they are limited.
pub(crate) fn filter(interface: &NetworkInterface, mac: MacAddress) -> Option<SourceFilter> {
    let addresses = interface.allowed_addresses.clone()?;
    Some(SourceFilter { mac, addresses })
}

fn lease(dhcp: &DhcpLease) -> Lease {
    Lease {
        address: dhcp.address,
        prefix_length: dhcp.prefix_length,
        gateway: dhcp.gateway,
        dns: dhcp.dns.clone(),
    }
}

/// An address of the kind that anybody can make up: not a group's, and locally administered (IEEE 802, 8.4).
fn made_up() -> Result<MacAddress, StartError> {
    let mut bytes = [0; 6];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(StartError::host("random bytes for a MAC address"))?;
    bytes[0] = bytes[0] & !1 | 2;
    Ok(MacAddress(bytes))
}
