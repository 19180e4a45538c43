//! `hull network ls` and `inspect`.

use std::process::ExitCode;

use comfy_table::{Table, presets};
use hull_engine::network::{Network, Networks};
use hull_engine::plain::{MicroVms, VmName, VmNet};
use serde_json::{Value, json};

use crate::vm::list::Format;

/// List networks
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Show identifiers only
    #[arg(short, long)]
    quiet: bool,
    /// How to print them; json is one object in a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Show all that is known of networks, as a JSON array
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Names or identifiers
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
}

pub(super) fn ls(args: &LsArgs, networks: &Networks, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let all = networks.list()?;
    if args.quiet {
        for network in &all {
            anstream::println!("{}", network.id());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let guests = guests(vms)?;
    if args.format == Format::Json {
        for network in &all {
            anstream::println!("{}", object(network, &guests)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NETWORK ID", "NAME", "SUBNETS", "GUESTS", "SCOPE"]);
    for network in &all {
        let subnets: Vec<_> = network
            .subnets()
            .iter()
            .map(|one| one.net.to_string())
            .collect();
        table.add_row([
            network.id().to_string(),
            network.name().to_owned(),
            subnets.join(" "),
            network.endpoints()?.len().to_string(),
            if network.is_internal() {
                "internal"
            } else {
                "outside"
            }
            .to_owned(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    anstream::println!("{table}");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn inspect(
    args: &InspectArgs,
    networks: &Networks,
    vms: &MicroVms,
) -> anyhow::Result<ExitCode> {
    let guests = guests(vms)?;
    let mut code = ExitCode::SUCCESS;
    let mut found = Vec::new();
    for name in &args.names {
        match networks.find(name) {
            Ok(network) => found.push(object(&network, &guests)?),
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    anstream::println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(code)
}

/// The interfaces of all microVMs that run.
fn guests(vms: &MicroVms) -> anyhow::Result<Vec<(VmName, VmNet)>> {
    let all = vms.list()?.into_iter();
    let of = all.flat_map(|one| {
        let name = one.record.name;
        let networks = one.state.networks.into_iter();
        networks.map(move |net| (name.clone(), net))
    });
    Ok(of.collect())
}

/// All that is known of one.
fn object(network: &Network, guests: &[(VmName, VmNet)]) -> anyhow::Result<Value> {
    let endpoint = |id: &hull_engine::network::EndpointId| {
        let guest = guests
            .iter()
            .find(|(_, net)| net.endpoint.as_ref() == Some(id));
        json!({
            "id": id,
            "microvm": guest.map(|(name, _)| name),
            "mac": guest.map(|(_, net)| net.mac),
            "addresses": guest.map(|(_, net)| &net.addresses),
            "published": guest.map(|(_, net)| &net.published),
            "tap": id.tap(),
        })
    };
    let subnet = |subnet: &hull_engine::network::SubnetSpec| {
        json!({
            "subnet": subnet.net,
            "gateway": subnet.gateway,
            "ip_range": subnet.range,
        })
    };
    Ok(json!({
        "id": network.id(),
        "name": network.name(),
        "bridge": network.id().bridge(),
        "subnets": network.subnets().iter().map(subnet).collect::<Vec<_>>(),
        "mtu": network.mtu(),
        "internal": network.is_internal(),
        "endpoints": network.endpoints()?.iter().map(endpoint).collect::<Vec<_>>(),
    }))
}
