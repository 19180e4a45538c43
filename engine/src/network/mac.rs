//! Ethernet addresses.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::id;

/// An Ethernet address, written `02:00:5e:10:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress([u8; 6]);

/// Text that is no Ethernet address of one station.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no MAC address of an interface: write one like 02:00:5e:10:00:01, whose first byte is even"
)]
pub struct InvalidMac(String);

impl MacAddress {
    /// A random, locally administered one: the host's administrator gave it to nobody (IEEE 802, section 8.2).
    pub(crate) fn random() -> io::Result<Self> {
        let [.., a, b, c, d, e] = id::random_bytes()?;
        Ok(Self([0x02, a, b, c, d, e]))
    }

    /// Its bytes, in the order of transmission.
    #[must_use]
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The IPv6 address that an interface makes of it for its link (RFC 4291, appendix A).
    #[must_use]
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u16::from);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            (a ^ 2) << 8 | b,
            c << 8 | 0xff,
            0xfe00 | d,
            e << 8 | f,
        )
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let parse = || {
            let mut bytes = [0; 6];
            let mut parts = text.split(':');
            for byte in &mut bytes {
                let part = parts.next()?;
                let is_hex = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
                *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_hex)?;
            }
            let is_station = bytes[0] & 1 == 0 && bytes != [0; 6];
            (parts.next().is_none() && is_station).then_some(Self(bytes))
        };
        parse().ok_or_else(|| InvalidMac(text.to_owned()))
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_stations_are_taken() {
        for text in ["02:00:5e:10:00:01", "AE:00:00:00:00:fF"] {
            let mac: MacAddress = text.parse().unwrap();
            assert_eq!(mac.to_string(), text.to_lowercase());
        }
        let wrong = "|02:00:5e:10:00|02:00:5e:10:00:01:02|2:0:5e:10:0:1|+2:00:5e:10:00:01|01:00:5e:10:00:01|00:00:00:00:00:00|02-00-5e-10-00-01";
        for text in wrong.split('|') {
            assert!(text.parse::<MacAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_link_local_address_is_that_of_the_rfc() {
        let mac: MacAddress = "34:56:78:9a:bc:de".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
        let random = MacAddress::random().unwrap();
        assert_eq!(random.octets()[0], 2);
    }
}
