//! What a guest that asks for its address is told.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::super::number::number;
use super::ConfigError;

/// The answer to a guest that asks by DHCP (RFC 2131). It holds for as long as the guest runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhcpLease {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// How many bits of it are its network's: 1 to 32.
    #[serde(deserialize_with = "number::<_, _, 1, 32>")]
    pub prefix_length: u8,
    /// Where its default route leads. Without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Servers of names, at most [`DhcpLease::MAX_DNS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv4Addr>,
}

impl DhcpLease {
    /// More than any resolver asks.
    pub const MAX_DNS: usize = 8;

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let address = self.address;
        if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
            return Err(ConfigError::Value {
                field: "network-interfaces.dhcp.address",
                value: address.to_string(),
                must: "the address of one host",
            });
        }
        let count = self.dns.len();
        if count > Self::MAX_DNS {
            return Err(ConfigError::TooMany {
                section: "network-interfaces.dhcp.dns",
                count,
                most: Self::MAX_DNS,
            });
        }
        super::in_range(
            "network-interfaces.dhcp.prefix_length",
            self.prefix_length,
            1,
            32,
        )
    }
}
