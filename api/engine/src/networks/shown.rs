//! What answers say of a network.

use hull_engine::network::{Member, Network, SubnetSpec};
use hull_engine::supervisor::Supervisor;
use serde_json::{Map, Value, json};

use super::Found;
use crate::error::ApiError;
use crate::words;

/// A network, without who is in it.
pub(super) fn network(found: &Found) -> Value {
    let mut shown = json!({
        "Name": found.name(),
        "Id": found.id(),
        "Created": words::NEVER,
        "Scope": "local",
        "Driver": found.driver(),
        "EnableIPv4": false,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": [] },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    });
    if let Found::Network(network) = found {
        let has = |is_v6: bool| {
            let mut subnets = network.subnets().iter();
            subnets.any(|one| one.net.addr().is_ipv6() == is_v6)
        };
        let subnets = network.subnets().iter().map(|one| subnet(network, one));
        shown["Created"] = json!(network.created().to_string());
        shown["EnableIPv4"] = json!(has(false));
        shown["EnableIPv6"] = json!(has(true));
        shown["IPAM"]["Config"] = subnets.collect();
        shown["Internal"] = json!(network.is_internal());
        shown["Options"] = json!(network.options());
        shown["Labels"] = json!(network.labels());
    }
    shown
}

fn subnet(network: &Network, subnet: &SubnetSpec) -> Value {
    let mut shown = json!({ "Subnet": subnet.net });
    if let Some(range) = subnet.range {
        shown["IPRange"] = json!(range);
    }
    if let Some(gateway) = subnet.gateway {
        shown["Gateway"] = json!(gateway);
    }
    let named = network.auxiliary().iter();
    let named = named.filter(|(_, address)| subnet.net.contains(*address));
    let named: Map<String, Value> = named
        .map(|(name, address)| (name.clone(), json!(address)))
        .collect();
    if !named.is_empty() {
        shown["AuxiliaryAddresses"] = Value::Object(named);
    }
    shown
}

/// Who is in a network now. Blocking.
pub(super) fn containers(supervisor: &Supervisor, found: &Found) -> Result<Value, ApiError> {
    let Found::Network(network) = found else {
        return Ok(json!({}));
    };
    let one = |member: &Member| {
        let address = |is_v6: bool| {
            let mut all = member.addresses.iter();
            let found = all.find(|net| net.addr().is_ipv6() == is_v6);
            found.map(ToString::to_string).unwrap_or_default()
        };
        let container = member.container.as_ref().map(|tenant| &tenant.id);
        let known = container.and_then(|id| supervisor.find(id).ok());
        let name = match (known, &member.container) {
            (Some(container), _) => container.name(),
            (None, Some(tenant)) => tenant.names.first().cloned().unwrap_or_default(),
            (None, None) => supervisor.microvm_at(&member.id).unwrap_or_default(),
        };
        // A microVM's interface is no container's.
        let key = container.map_or_else(|| format!("ep-{}", member.id), Clone::clone);
        let shown = json!({
            "Name": name,
            "EndpointID": member.id,
            "MacAddress": member.mac,
            "IPv4Address": address(false),
            "IPv6Address": address(true),
        });
        (key, shown)
    };
    Ok(Value::Object(network.members()?.iter().map(one).collect()))
}
