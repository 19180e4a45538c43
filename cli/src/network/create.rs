//! `hull network create`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bollard::models::{ConfigReference, Ipam, IpamConfig, NetworkCreateRequest};
use hull_engine::network::IpNet;

use crate::client::{Daemon, said};
use crate::context::Context;
use crate::out;
use crate::pairs::pair;

/// Make a network; its identifier is printed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull network create backend                                a subnet of Hull's choice\n  \
    hull network create --internal --subnet 10.5.0.0/24 db     without a way out\n  \
    hull network create --subnet 10.6.0.0/24 --ip-range 10.6.0.128/25 --aux-address printer=10.6.0.9 office\n  \
    hull network create --ipv6 --mtu 9000 fast")]
pub(crate) struct Args {
    /// Containers of a swarm may be connected by hand, as they may be to any network of one host
    #[arg(long)]
    attachable: bool,
    /// An address in a subnet that no guest gets
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = pair)]
    aux_address: Vec<(String, String)>,
    /// The network whose configuration to take; there are none such here
    #[arg(long, value_name = "NETWORK", hide = true)]
    config_from: Option<String>,
    /// Only a configuration, for other networks
    #[arg(long, hide = true)]
    config_only: bool,
    /// Its driver, of which there is one: bridge
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// The host's address in a subnet; its first one if not given
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    gateway: Vec<IpAddr>,
    /// The entrance of a swarm
    #[arg(long, hide = true)]
    ingress: bool,
    /// Nothing leaves it or comes in: no NAT, no published ports
    #[arg(long)]
    internal: bool,
    /// The part of a subnet from which guests get addresses
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    ip_range: Vec<IpNet>,
    /// Who gives out addresses, of which there is one: default
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    ipam_driver: String,
    /// An option of the one who gives out addresses
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    ipam_opt: Vec<(String, String)>,
    /// IPv4, with a subnet of Hull's choice if none is given
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// IPv6 too, with a subnet of Hull's choice if none is given
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// A label
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = pair)]
    label: Vec<(String, String)>,
    /// An option of the driver, such as com.docker.network.driver.mtu=1400
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = pair)]
    opts: Vec<(String, String)>,
    /// How far it reaches: local
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// A subnet, such as 10.5.0.0/24 or fd05::/64; can be given once for each family
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    subnet: Vec<IpNet>,
    /// The MTU of its guests, in bytes: the option com.docker.network.driver.mtu
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u16>,
    /// Its guests do not reach one another: the option com.docker.network.bridge.enable_icc=false
    #[arg(long)]
    isolate: bool,
    /// What leaves it keeps its address, and the network outside must know the way back: the option
    /// com.docker.network.bridge.enable_ip_masquerade=false
    #[arg(long)]
    no_masquerade: bool,
    /// Its name
    #[arg(value_name = "NETWORK")]
    name: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let request = args.request()?;
    let daemon = Daemon::connect(ctx).await?;
    let made = daemon.docker().create_network(request).await;
    let made = made.map_err(said)?;
    out::line(&made.id)?;
    for warning in made.warning.lines() {
        anstream::eprintln!("hull: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn request(self) -> anyhow::Result<NetworkCreateRequest> {
        let config = pools(
            &self.subnet,
            &self.ip_range,
            &self.gateway,
            &self.aux_address,
        )?;
        let mut options: HashMap<String, String> = self.opts.into_iter().collect();
        let short = [
            ("driver.mtu", self.mtu.map(|mtu| mtu.to_string())),
            (
                "bridge.enable_icc",
                self.isolate.then(|| "false".to_owned()),
            ),
            (
                "bridge.enable_ip_masquerade",
                self.no_masquerade.then(|| "false".to_owned()),
            ),
        ];
        for (name, value) in short {
            let value = value.map(|value| (format!("com.docker.network.{name}"), value));
            options.extend(value);
        }
        Ok(NetworkCreateRequest {
            name: self.name,
            driver: Some(self.driver),
            scope: self.scope,
            internal: Some(self.internal),
            attachable: Some(self.attachable),
            ingress: Some(self.ingress),
            config_only: Some(self.config_only),
            config_from: self.config_from.map(|network| ConfigReference {
                network: Some(network),
            }),
            ipam: Some(Ipam {
                driver: Some(self.ipam_driver),
                config: Some(config),
                options: Some(self.ipam_opt.into_iter().collect()),
            }),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            options: Some(options),
            labels: Some(self.label.into_iter().collect()),
        })
    }
}

/// The subnets, each with what lies in it.
fn pools(
    subnets: &[IpNet],
    ranges: &[IpNet],
    gateways: &[IpAddr],
    named: &[(String, String)],
) -> anyhow::Result<Vec<IpamConfig>> {
    for (index, subnet) in subnets.iter().enumerate() {
        let same = |other: &IpNet| other.addr().is_ipv6() == subnet.addr().is_ipv6();
        if subnets.iter().skip(index + 1).any(same) {
            bail!("a network has one --subnet of each family");
        }
    }
    let mut pools: Vec<IpamConfig> = subnets.iter().map(pool).collect();
    for range in ranges {
        let what = format!("--ip-range {range}");
        let pool = within(&mut pools, subnets, range.addr(), &what)?;
        if pool.ip_range.replace(range.to_string()).is_some() {
            bail!("{what} is the second one of its subnet");
        }
    }
    for gateway in gateways {
        let what = format!("--gateway {gateway}");
        let pool = within(&mut pools, subnets, *gateway, &what)?;
        if pool.gateway.replace(gateway.to_string()).is_some() {
            bail!("{what} is the second one of its subnet");
        }
    }
    for (name, address) in named {
        let what = format!("--aux-address {name}={address}");
        let parsed = address.parse();
        let parsed: IpAddr = parsed.with_context(|| format!("{what} is no address"))?;
        let pool = within(&mut pools, subnets, parsed, &what)?;
        let all = pool.auxiliary_addresses.get_or_insert_default();
        all.insert(name.clone(), address.clone());
    }
    Ok(pools)
}

fn pool(net: &IpNet) -> IpamConfig {
    IpamConfig {
        subnet: Some(net.to_string()),
        ..IpamConfig::default()
    }
}

/// The pool of the subnet in which an address lies.
fn within<'a>(
    pools: &'a mut [IpamConfig],
    subnets: &[IpNet],
    address: IpAddr,
    what: &str,
) -> anyhow::Result<&'a mut IpamConfig> {
    let found = subnets.iter().position(|net| net.contains(&address));
    found
        .and_then(|index| pools.get_mut(index))
        .with_context(|| format!("{what} is in no --subnet that was given"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: Args,
    }

    fn request(line: &str) -> Result<NetworkCreateRequest, String> {
        let words = ["create"].into_iter().chain(line.split_whitespace());
        let typed = Typed::try_parse_from(words).map_err(|error| error.to_string())?;
        typed.args.request().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_is_said_of_addresses_goes_to_their_subnet() {
        let request = request(
            "--subnet fd05::/64,10.5.0.0/24 --gateway 10.5.0.7 --gateway fd05::9 --ip-range 10.5.0.128/25 \
             --aux-address printer=10.5.0.8 --ipv6 --ipv4=false net",
        );
        let request = request.unwrap();
        let pools = request.ipam.unwrap().config.unwrap();
        let [v6, v4] = pools.as_slice() else { panic!() };
        assert_eq!(v6.gateway.as_deref(), Some("fd05::9"));
        assert_eq!(v4.gateway.as_deref(), Some("10.5.0.7"));
        assert_eq!(v4.ip_range.as_deref(), Some("10.5.0.128/25"));
        assert_eq!(
            v4.auxiliary_addresses.as_ref().unwrap()["printer"],
            "10.5.0.8"
        );
        assert_eq!(
            (request.enable_ipv4, request.enable_ipv6),
            (Some(false), Some(true))
        );
    }

    #[test]
    fn short_options_are_those_of_the_driver() {
        let request = request("--mtu 1400 --isolate --no-masquerade -o a=b net").unwrap();
        let options = request.options.unwrap();
        assert_eq!(options["com.docker.network.driver.mtu"], "1400");
        assert_eq!(options["com.docker.network.bridge.enable_icc"], "false");
        assert_eq!(
            options["com.docker.network.bridge.enable_ip_masquerade"],
            "false"
        );
        assert_eq!(options["a"], "b");
    }

    #[test]
    fn addresses_without_their_subnet_are_refused() {
        for (line, why) in [
            ("--gateway 10.5.0.1 net", "in no --subnet"),
            (
                "--subnet 10.5.0.0/24 --ip-range 10.6.0.0/25 net",
                "in no --subnet",
            ),
            (
                "--subnet 10.5.0.0/24 --subnet 10.6.0.0/24 net",
                "one --subnet of each family",
            ),
            (
                "--subnet 10.5.0.0/24 --gateway 10.5.0.1 --gateway 10.5.0.2 net",
                "second one",
            ),
            (
                "--subnet 10.5.0.0/24 --aux-address a=b net",
                "is no address",
            ),
            ("--subnet x net", "invalid value 'x'"),
        ] {
            let said = request(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
