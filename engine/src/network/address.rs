//! Which address an endpoint gets. Pure: who has what, and what is wanted, comes in; an address or a reason comes out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Error, SubnetSpec};

/// The first address of a subnet, which is its gateway's where none was chosen.
pub(crate) fn first(net: &IpNet) -> IpAddr {
    from_number(number(net.network()) + 1, net)
}

/// Whether an address can be somebody's in the subnet: it is neither the subnet's own nor, with IPv4, everybody's.
pub(crate) fn is_usable(net: &IpNet, address: IpAddr) -> bool {
    let is_broadcast = matches!(net, IpNet::V4(net) if IpAddr::V4(net.broadcast()) == address);
    net.contains(&address) && address != net.network() && !is_broadcast
}

/// The wanted address, if it can be had; `taken` are those of living endpoints.
pub(crate) fn claim(
    subnet: &SubnetSpec,
    taken: &[IpAddr],
    wanted: IpAddr,
) -> Result<IpAddr, Error> {
    let refuse = |why| {
        Err(Error::Address {
            address: wanted,
            why,
        })
    };
    if !is_usable(&subnet.net, wanted) {
        return refuse("no host of the network's subnet can have it");
    }
    if subnet.gateway == Some(wanted) {
        return refuse("it is the gateway's");
    }
    if subnet.reserved.contains(&wanted) {
        return refuse("it is reserved");
    }
    if taken.contains(&wanted) {
        return refuse("another endpoint has it");
    }
    Ok(wanted)
}

/// The next free address after `last`, from the beginning again after the end.
pub(crate) fn next(
    subnet: &SubnetSpec,
    taken: &[IpAddr],
    last: Option<IpAddr>,
) -> Result<IpAddr, Error> {
    let range = subnet.range.as_ref().unwrap_or(&subnet.net);
    let (low, high) = (number(range.network()), number(range.broadcast()));
    let mut candidate = match last.filter(|last| range.contains(last)).map(number) {
        Some(last) if last < high => last + 1,
        _ => low,
    };
    // Each candidate is another one, and each that is not free is one of these, or the first or last of the subnet.
    let occupied = taken.len() + subnet.reserved.len() + 3;
    let size = (high - low).saturating_add(1);
    for _ in 0..=(occupied as u128).min(size - 1) {
        let address = from_number(candidate, range);
        if claim(subnet, taken, address).is_ok() {
            return Ok(address);
        }
        candidate = if candidate == high {
            low
        } else {
            candidate + 1
        };
    }
    Err(Error::NoAddress { range: *range })
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address of this number, of the family of `like`.
fn from_number(number: u128, like: &IpNet) -> IpAddr {
    match like {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn subnet(net: &str) -> SubnetSpec {
        let net: IpNet = net.parse().unwrap();
        SubnetSpec {
            gateway: Some(first(&net)),
            ..SubnetSpec::new(net)
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_address_but_those_of_others_is_given_once_and_rests_before_it_is_given_again() {
        let mut subnet = subnet("10.0.0.0/29");
        subnet.reserved.push(ip("10.0.0.3"));
        let mut taken = Vec::new();
        let mut last = None;
        for expected in ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"] {
            let address = next(&subnet, &taken, last).unwrap();
            assert_eq!(address, ip(expected));
            taken.push(address);
            last = Some(address);
        }
        let error = next(&subnet, &taken, last).unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/29"));
        taken.retain(|address| *address != ip("10.0.0.4"));
        assert_eq!(next(&subnet, &taken, last).unwrap(), ip("10.0.0.4"));
        assert_eq!(
            next(&subnet, &[], Some(ip("10.0.0.2"))).unwrap(),
            ip("10.0.0.4")
        );
    }

    #[test]
    fn a_range_bounds_what_is_chosen_but_not_what_is_wanted() {
        let mut subnet = subnet("10.0.0.0/24");
        subnet.range = Some("10.0.0.128/30".parse().unwrap());
        assert_eq!(next(&subnet, &[], None).unwrap(), ip("10.0.0.128"));
        assert_eq!(
            next(&subnet, &[], Some(ip("10.0.0.131"))).unwrap(),
            ip("10.0.0.128")
        );
        assert!(claim(&subnet, &[], ip("10.0.0.9")).is_ok());
    }

    #[test]
    fn what_cannot_be_had_says_why() {
        let mut subnet = subnet("10.0.0.0/24");
        subnet.reserved.push(ip("10.0.0.5"));
        let taken = [ip("10.0.0.7")];
        for (address, why) in [
            ("10.0.1.1", "no host"),
            ("10.0.0.0", "no host"),
            ("10.0.0.255", "no host"),
            ("fd00::1", "no host"),
            ("10.0.0.1", "gateway"),
            ("10.0.0.5", "reserved"),
            ("10.0.0.7", "another endpoint"),
        ] {
            let error = claim(&subnet, &taken, ip(address)).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(address), "{error}");
        }
    }

    #[test]
    fn ipv6_subnets_of_any_size_work() {
        let subnet = subnet("fd12::/64");
        assert_eq!(next(&subnet, &[], None).unwrap(), ip("fd12::2"));
        let all = SubnetSpec::new("::/0".parse::<IpNet>().unwrap());
        assert_eq!(next(&all, &[], Some(ip("ffff::1"))).unwrap(), ip("ffff::2"));
    }

    proptest! {
        #[test]
        fn what_is_given_can_be_claimed_and_there_is_an_end(prefix in 24u8..=30, picks in prop::collection::vec(any::<u8>(), 0..300)) {
            let subnet = subnet(&format!("10.9.8.0/{prefix}"));
            let mut taken: BTreeSet<IpAddr> = BTreeSet::new();
            for pick in picks {
                let list: Vec<_> = taken.iter().copied().collect();
                match next(&subnet, &list, Some(IpAddr::from([10, 9, 8, pick]))) {
                    Ok(address) => {
                        prop_assert!(claim(&subnet, &list, address).is_ok());
                        prop_assert!(taken.insert(address));
                    }
                    Err(_) => prop_assert_eq!(taken.len(), (1 << (32 - prefix)) - 3),
                }
            }
        }
    }
}
