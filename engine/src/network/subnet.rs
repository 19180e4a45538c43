//! Which subnet a network gets: nobody else on the host uses it, be it a network of Hull or a route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::netlink::Route;
use super::state::NetworkRecord;
use super::{Addressing, Error, SubnetSpec, address, id};

/// Where IPv4 subnets are chosen from: 128 of [`AUTO_PREFIX`]. Private (RFC 1918), and seldom met: home networks are in
/// 192.168.0.0/16, Docker's are in 172.16.0.0/12.
const POOL: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 200, 0, 0), 13);
/// 4093 guests.
const AUTO_PREFIX: u8 = 20;
/// A route to more than this (IPv4, IPv6) is one to the rest of the world, such as 0.0.0.0/1 of a VPN: it is nobody's subnet.
const LARGEST_ROUTE: (u8, u8) = (8, 7);

/// Who uses which subnets.
#[derive(Debug, Default)]
pub(crate) struct InUse(Vec<(IpNet, String)>);

impl InUse {
    /// From networks, and from routes but those through the interface `but`.
    pub(crate) fn new(networks: &[NetworkRecord], routes: &[Route], but: &[u32]) -> Self {
        let mut used = Vec::new();
        for network in networks {
            let by = format!("network {:?}", network.name);
            used.extend(
                network
                    .subnets
                    .iter()
                    .map(|subnet| (subnet.net, by.clone())),
            );
        }
        for route in routes {
            let least = match route.to {
                IpNet::V4(_) => LARGEST_ROUTE.0,
                IpNet::V6(_) => LARGEST_ROUTE.1,
            };
            let is_own = route
                .interface
                .is_some_and(|interface| but.contains(&interface));
            if route.to.prefix_len() >= least && !is_own {
                used.push((route.to, format!("the host's route to {}", route.to)));
            }
        }
        Self(used)
    }

    /// Refuses a subnet of which a part is somebody's.
    pub(crate) fn check(&self, net: &IpNet) -> Result<(), Error> {
        match self.0.iter().find(|(used, _)| overlaps(used, net)) {
            Some((_, by)) => Err(Error::Overlap {
                net: *net,
                by: by.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The subnet of a network to be made.
    pub(crate) fn resolve(
        &self,
        wanted: &Addressing,
        is_v6: bool,
    ) -> Result<Option<SubnetSpec>, Error> {
        let mut subnet = match wanted {
            Addressing::Off => return Ok(None),
            Addressing::Auto => SubnetSpec::new(if is_v6 {
                self.choose_v6()?
            } else {
                self.choose_v4()?
            }),
            Addressing::Subnet(subnet) => {
                check(subnet, is_v6)?;
                self.check(&subnet.net)?;
                subnet.clone()
            }
        };
        subnet.net = subnet.net.trunc();
        subnet.gateway = subnet.gateway.or_else(|| Some(address::first(&subnet.net)));
        Ok(Some(subnet))
    }

    fn choose_v4(&self) -> Result<IpNet, Error> {
        let pool = Ipv4Net::new_assert(POOL.0, POOL.1);
        let candidates = pool.subnets(AUTO_PREFIX).into_iter().flatten();
        candidates
            .map(IpNet::V4)
            .find(|net| self.check(net).is_ok())
            .ok_or(Error::NoSubnet {
                pool: IpNet::V4(pool),
            })
    }

    /// A random unique local subnet (RFC 4193, section 3.2).
    fn choose_v6(&self) -> Result<IpNet, Error> {
        let [a, b, c, d, e, ..] = id::random_bytes().map_err(Error::io("read", "/dev/urandom"))?;
        let prefix = [0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let net = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(prefix), 64));
        self.check(&net)?;
        Ok(net)
    }
}

/// Refuses what cannot be a network's subnet, whoever else uses it.
fn check(subnet: &SubnetSpec, is_v6: bool) -> Result<(), Error> {
    let net = &subnet.net;
    let (family, longest) = if is_v6 { ("IPv6", 126) } else { ("IPv4", 30) };
    if matches!(net, IpNet::V6(_)) != is_v6 {
        return Err(Error::invalid(
            format!("subnet {net} is not of {family}"),
            "give it as the other family's",
        ));
    }
    if net.prefix_len() > longest || net.prefix_len() == 0 {
        return Err(Error::invalid(
            format!("subnet {net} has no room for a gateway and a guest, or is everything"),
            "give one from /1 to /30 (IPv4) or /126 (IPv6)",
        ));
    }
    let is_special = |address: IpAddr| {
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        address.is_loopback() || address.is_multicast() || link_local || address.is_unspecified()
    };
    if is_special(net.network()) || is_special(net.broadcast()) {
        return Err(Error::invalid(
            format!("subnet {net} is loopback, link-local or multicast"),
            "give a private one, such as 10.44.0.0/16 or fd44::/64",
        ));
    }
    if let Some(gateway) = subnet
        .gateway
        .filter(|gateway| !address::is_usable(net, *gateway))
    {
        return Err(Error::invalid(
            format!("gateway {gateway} is no host's address in subnet {net}"),
            "give one inside of the subnet, or none",
        ));
    }
    if let Some(range) = subnet.range.filter(|range| !net.contains(range)) {
        return Err(Error::invalid(
            format!("range {range} is not inside of subnet {net}"),
            "give a part of the subnet, or none",
        ));
    }
    if let Some(outside) = subnet
        .reserved
        .iter()
        .find(|address| !net.contains(*address))
    {
        return Err(Error::invalid(
            format!("reserved address {outside} is not inside of subnet {net}"),
            "give addresses of the subnet",
        ));
    }
    Ok(())
}

/// Of two subnets that share an address, one contains the other.
fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn in_use(nets: &[&str]) -> InUse {
        let routes: Vec<Route> = nets
            .iter()
            .map(|text| Route {
                to: net(text),
                interface: Some(3),
            })
            .collect();
        InUse::new(&[], &routes, &[])
    }

    fn chosen(in_use: &InUse) -> IpNet {
        in_use
            .resolve(&Addressing::Auto, false)
            .unwrap()
            .unwrap()
            .net
    }

    #[test]
    fn a_free_subnet_is_chosen_and_a_full_pool_says_so() {
        assert_eq!(chosen(&in_use(&[])), net("10.200.0.0/20"));
        assert_eq!(
            chosen(&in_use(&["10.200.3.0/24", "10.200.16.0/20"])),
            net("10.200.32.0/20")
        );
        // A VPN takes all traffic by routes that are no subnets.
        assert_eq!(
            chosen(&in_use(&["0.0.0.0/1", "128.0.0.0/1"])),
            net("10.200.0.0/20")
        );
        let error = in_use(&["10.0.0.0/8"])
            .resolve(&Addressing::Auto, false)
            .unwrap_err();
        assert!(error.to_string().contains("10.200.0.0/13"), "{error}");
        let v6 = in_use(&[])
            .resolve(&Addressing::Auto, true)
            .unwrap()
            .unwrap();
        assert!(net("fd00::/8").contains(&v6.net) && v6.net.prefix_len() == 64);
    }

    #[test]
    fn a_subnet_that_somebody_uses_is_refused_with_who() {
        let used = in_use(&["10.1.0.0/16", "fd00:1::/32"]);
        for wanted in ["10.1.2.0/24", "10.0.0.0/8", "fd00:1:2::/64"] {
            let error = used.check(&net(wanted)).unwrap_err().to_string();
            assert!(error.contains("the host's route to"), "{error}");
        }
        assert!(used.check(&net("10.2.0.0/16")).is_ok());
        assert_eq!(
            InUse::new(
                &[],
                &[Route {
                    to: net("10.1.0.0/16"),
                    interface: Some(3)
                }],
                &[3]
            )
            .0
            .len(),
            0
        );
    }

    #[test]
    fn what_cannot_be_a_subnet_is_refused() {
        let refuse = |subnet: SubnetSpec, is_v6, why: &str| {
            let error = InUse::default()
                .resolve(&Addressing::Subnet(subnet), is_v6)
                .unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        };
        let plain = |text: &str| SubnetSpec::new(net(text));
        for wrong in [
            "127.0.0.0/8",
            "224.0.0.0/4",
            "169.254.0.0/16",
            "127.1.0.0/16",
        ] {
            refuse(plain(wrong), false, "loopback");
        }
        refuse(plain("fe80::/64"), true, "loopback");
        refuse(plain("10.0.0.0/31"), false, "no room");
        refuse(plain("fd00::/64"), false, "not of IPv4");
        let mut subnet = plain("10.0.0.0/24");
        subnet.gateway = Some("10.0.1.1".parse().unwrap());
        refuse(subnet.clone(), false, "gateway");
        subnet.gateway = None;
        subnet.range = Some(net("10.0.0.0/23"));
        refuse(subnet.clone(), false, "range");
        subnet.range = None;
        subnet.reserved.push("10.1.0.1".parse().unwrap());
        refuse(subnet, false, "reserved");
    }

    #[test]
    fn host_bits_are_dropped_and_the_gateway_is_the_first_address() {
        let subnet = Addressing::Subnet(SubnetSpec::new(net("10.0.0.77/24")));
        let subnet = InUse::default().resolve(&subnet, false).unwrap().unwrap();
        assert_eq!(
            (subnet.net, subnet.gateway),
            (net("10.0.0.0/24"), Some("10.0.0.1".parse().unwrap()))
        );
    }
}
