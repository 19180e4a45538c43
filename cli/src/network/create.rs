//! `hull network create`.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::bail;
use hull_engine::network::{Addressing, DEFAULT_MTU, IpNet, NetworkSpec, Networks, SubnetSpec};

/// Make a network; its identifier is printed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A subnet, such as 10.5.0.0/24 or fd05::/64; can be given once for each family. A free one if not given
    #[arg(long = "subnet", value_name = "SUBNET")]
    subnets: Vec<IpNet>,
    /// The host's address in a subnet; its first one if not given
    #[arg(long = "gateway", value_name = "ADDRESS")]
    gateways: Vec<IpAddr>,
    /// The part of a subnet from which guests get addresses
    #[arg(long = "ip-range", value_name = "SUBNET")]
    ranges: Vec<IpNet>,
    /// Nothing leaves it or comes in: no NAT, no published ports
    #[arg(long)]
    internal: bool,
    /// IPv6 too, with a subnet of Hull's choice if none is given
    #[arg(long)]
    ipv6: bool,
    /// The MTU of its guests, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MTU)]
    mtu: u16,
    /// Its guests do not reach one another
    #[arg(long)]
    isolate: bool,
    /// What leaves it keeps its address; the network outside must know the way back
    #[arg(long)]
    no_masquerade: bool,
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(args: Args, networks: &Networks) -> anyhow::Result<ExitCode> {
    let spec = args.spec()?;
    let network = networks.create(&spec)?;
    anstream::println!("{}", network.id());
    for obstacle in networks.obstacles()? {
        anstream::eprintln!("hull: {obstacle}");
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn spec(self) -> anyhow::Result<NetworkSpec> {
        let mut subnets: Vec<SubnetSpec> = self.subnets.into_iter().map(SubnetSpec::new).collect();
        for (index, subnet) in subnets.iter().enumerate() {
            let family = subnet.net.addr().is_ipv6();
            let mut others = subnets.iter().skip(index + 1);
            if others.any(|other| other.net.addr().is_ipv6() == family) {
                bail!("a network has one --subnet of each family");
            }
        }
        for gateway in self.gateways {
            match subnets
                .iter_mut()
                .find(|subnet| subnet.net.contains(&gateway))
            {
                Some(subnet) => subnet.gateway = Some(gateway),
                None => bail!("--gateway {gateway} is in no --subnet that was given"),
            }
        }
        for range in self.ranges {
            match subnets
                .iter_mut()
                .find(|subnet| subnet.net.contains(&range))
            {
                Some(subnet) => subnet.range = Some(range),
                None => bail!("--ip-range {range} is in no --subnet that was given"),
            }
        }
        let mut of_family = |is_v6: bool| {
            let found = subnets
                .iter()
                .position(|one| one.net.addr().is_ipv6() == is_v6);
            found.map(|index| Addressing::Subnet(subnets.swap_remove(index)))
        };
        let mut spec = NetworkSpec::new(self.name);
        let none = if self.ipv6 {
            Addressing::Auto
        } else {
            Addressing::Off
        };
        spec.ipv6 = of_family(true).unwrap_or(none);
        spec.ipv4 = of_family(false).unwrap_or(Addressing::Auto);
        spec.mtu = self.mtu;
        spec.internal = self.internal;
        spec.inter_container = !self.isolate;
        spec.masquerade = !self.no_masquerade;
        Ok(spec)
    }
}
