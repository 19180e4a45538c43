//! The metadata service: what the guest asks for at an address of the link.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::network::INTERFACES;

/// How the guest reaches the metadata, and by which protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmdsConfig {
    /// The protocol.
    #[serde(default)]
    pub version: MmdsVersion,
    /// The ids of the interfaces on which the service answers: at least one, and all of them are there.
    pub network_interfaces: Vec<String>,
    /// Its address, from 169.254.1.0 to 169.254.254.255. Without it: [`MmdsConfig::DEFAULT_ADDRESS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<Ipv4Addr>,
    /// Answer like EC2's IMDS, in plain text, whatever the guest accepts.
    #[serde(default)]
    pub imds_compat: bool,
}

/// The protocol of the metadata service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MmdsVersion {
    /// A GET is enough. Firecracker has deprecated it.
    #[default]
    V1,
    /// A token first, by PUT.
    V2,
}

impl MmdsConfig {
    /// Where the service answers unless it is told otherwise.
    pub const DEFAULT_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

    /// Where the service answers.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.ipv4_address.unwrap_or(Self::DEFAULT_ADDRESS)
    }

    /// `known` are the ids of the interfaces there are.
    pub(crate) fn validate(&self, known: &[&str]) -> Result<(), ConfigError> {
        if self.network_interfaces.is_empty() {
            return Err(ConfigError::conflict(
                "mmds-config.network_interfaces is empty; name the interfaces on which the service answers",
            ));
        }
        INTERFACES.check_all(self.network_interfaces.iter().map(String::as_str))?;
        for id in &self.network_interfaces {
            if !known.contains(&id.as_str()) {
                return Err(ConfigError::conflict(format!(
                    "mmds-config.network_interfaces names {id:?}, but there is no network interface of this iface_id"
                )));
            }
        }
        match self.address().octets() {
            // RFC 3927, 2.1: the first and the last 256 addresses are reserved.
            [169, 254, 1..=254, _] => Ok(()),
            _ => Err(ConfigError::Value {
                field: "mmds-config.ipv4_address",
                value: self.address().to_string(),
                must: "a link-local address, from 169.254.1.0 to 169.254.254.255",
            }),
        }
    }
}
