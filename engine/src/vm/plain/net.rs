//! What a person says about the network of a plain microVM: `--net`, one of them for each interface.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hull_vm_api::config::NetworkInterface;
use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::network::MacAddress;

/// One network interface, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetSpec {
    /// What is at its other end.
    pub to: NetTarget,
    /// Addresses that the guest must have, at most one of a family; others are chosen.
    pub addresses: Vec<IpAddr>,
    /// The guest's MAC address. [`super::VmSpec::checked`] makes one up where none was given, so that it stays the same.
    pub mac: Option<MacAddress>,
    /// The MTU that the guest is told, in bytes; the network's without it.
    pub mtu: Option<u16>,
    /// Pairs of queues.
    pub queues: u8,
}

/// What is at the other end of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetTarget {
    /// There is no interface: said aloud.
    None,
    /// A network of Hull's, by its name or identifier.
    Network(String),
    /// A TAP device of the host.
    Tap(String),
    /// The host's network, through passt.
    User,
    /// No cable is plugged in.
    Unplugged,
}

/// As it is said.
impl fmt::Display for NetTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Network(name) => f.write_str(name),
            Self::Tap(name) => write!(f, "tap={name}"),
            Self::User => f.write_str("user"),
            Self::Unplugged => f.write_str("unplugged"),
        }
    }
}

impl NetSpec {
    /// An interface of which nothing more is said.
    #[must_use]
    pub fn new(to: NetTarget) -> Self {
        Self {
            to,
            addresses: Vec::new(),
            mac: None,
            mtu: None,
            queues: 1,
        }
    }

    /// Whether ports of the host can be the guest's by it.
    #[must_use]
    pub fn can_publish(&self) -> bool {
        matches!(self.to, NetTarget::Network(_) | NetTarget::User)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let wrong = |error: &dyn fmt::Display| format!("{key}={value}: {error}");
        match key {
            "ip" | "ip6" => {
                let address: IpAddr = value.parse().map_err(|error| wrong(&error))?;
                self.addresses.push(address);
            }
            "mac" => self.mac = Some(value.parse().map_err(|error| wrong(&error))?),
            "mtu" => self.mtu = Some(value.parse().map_err(|error| wrong(&error))?),
            "queues" => self.queues = value.parse().map_err(|error| wrong(&error))?,
            _ => {
                return Err(format!(
                    "there is no {key}=: ip, mac, mtu and queues are known"
                ));
            }
        }
        Ok(())
    }

    /// What goes with some targets and not with others.
    fn check(&self) -> Result<(), &'static str> {
        let families = self.addresses.iter().filter(|ip| ip.is_ipv6()).count();
        let one_each = families < 2 && self.addresses.len() - families < 2;
        match &self.to {
            NetTarget::None if *self != Self::new(NetTarget::None) => {
                Err("without an interface there is nothing to say about it")
            }
            NetTarget::Tap(_) if !self.addresses.is_empty() => Err(
                "the addresses behind a TAP device of your own are yours to give: leave ip= away",
            ),
            NetTarget::Unplugged if !self.addresses.is_empty() => {
                Err("there is no network of which an address could be")
            }
            NetTarget::User if self.queues != 1 => Err("passt has one queue"),
            _ if !one_each => Err("give one ip= of each family"),
            _ if self.queues == 0 || self.queues > NetworkInterface::MAX_QUEUES => {
                Err("give 1 to 16 queues")
            }
            _ if self.mtu.is_some_and(|mtu| mtu < NetworkInterface::MIN_MTU) => {
                Err("give an MTU of 68 to 65535 bytes")
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for NetSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refuse = |why: String| SpecError::Net {
            text: text.to_owned(),
            why,
        };
        let mut parts = text.split(',');
        let to = match parts.next().unwrap_or_default() {
            "none" => NetTarget::None,
            "user" => NetTarget::User,
            "unplugged" => NetTarget::Unplugged,
            first => match first.split_once('=') {
                Some(("tap", name)) if !name.is_empty() => NetTarget::Tap(name.to_owned()),
                None if !first.is_empty() => NetTarget::Network(first.to_owned()),
                _ => {
                    return Err(refuse(
                        "it begins with a network's name, tap=NAME, user, unplugged or none"
                            .to_owned(),
                    ));
                }
            },
        };
        let mut spec = Self::new(to);
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(refuse(format!("{part:?} is not like ip=ADDRESS")));
            };
            spec.set(key, value).map_err(refuse)?;
        }
        spec.check().map_err(|why| refuse(why.to_owned()))?;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> NetSpec {
        text.parse().unwrap()
    }

    #[test]
    fn each_interface_is_said_in_one_word() {
        assert_eq!(parse("none"), NetSpec::new(NetTarget::None));
        assert_eq!(parse("user"), NetSpec::new(NetTarget::User));
        assert_eq!(
            parse("backend,ip=10.1.2.3,ip=fd00::3,mac=02:00:00:00:00:07,mtu=1400,queues=4"),
            NetSpec {
                to: NetTarget::Network("backend".to_owned()),
                addresses: vec!["10.1.2.3".parse().unwrap(), "fd00::3".parse().unwrap()],
                mac: Some("02:00:00:00:00:07".parse().unwrap()),
                mtu: Some(1400),
                queues: 4,
            }
        );
        let tap = parse("tap=tap0,mac=02:00:00:00:00:07");
        assert_eq!(tap.to, NetTarget::Tap("tap0".to_owned()));
        for text in ["talk", "tap=t", "user", "unplugged", "none"] {
            assert_eq!(parse(text).to.to_string(), text);
        }
        assert!(!tap.can_publish() && !parse("unplugged").can_publish());
        assert!(parse("x").can_publish() && parse("user").can_publish());
    }

    #[test]
    fn what_makes_no_interface_says_why() {
        for (text, why) in [
            ("", "begins with"),
            ("tap=", "begins with"),
            ("bridge=x", "begins with"),
            ("x,ip", "is not like"),
            ("x,ip=10.0.0", "ip=10.0.0"),
            ("x,ip=10.0.0.2/24", "ip=10.0.0.2/24"),
            ("x,ip=10.0.0.2,ip=10.0.0.3", "each family"),
            ("x,mac=01:00:00:00:00:01", "first byte is even"),
            ("x,mtu=67", "68 to 65535"),
            ("x,mtu=70000", "mtu=70000"),
            ("x,queues=17", "1 to 16"),
            ("x,queues=0", "1 to 16"),
            ("x,name=y", "no name="),
            ("none,mtu=1500", "nothing to say"),
            ("user,queues=2", "one queue"),
            ("tap=t,ip=10.0.0.2", "yours to give"),
            ("unplugged,ip=10.0.0.2", "no network"),
        ] {
            let said = text.parse::<NetSpec>().unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
