//! `POST /networks/create`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hull_engine::network::{Addressing, IpNet, NetworkSpec, Service, SubnetSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::BUILTIN;
use crate::body::JsonBody;
use crate::error::{ApiError, blocking};
use crate::router::Shared;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CreateBody {
    name: String,
    driver: String,
    scope: String,
    internal: bool,
    /// Means something to a swarm only: to a network of one host anybody can be connected.
    #[serde(rename = "Attachable")]
    _attachable: bool,
    ingress: bool,
    config_only: bool,
    config_from: Value,
    #[serde(rename = "IPAM")]
    ipam: IpamBody,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: Option<bool>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IpamBody {
    driver: String,
    config: Vec<IpamConfigBody>,
    options: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IpamConfigBody {
    subnet: String,
    #[serde(rename = "IPRange")]
    ip_range: String,
    gateway: String,
    auxiliary_addresses: BTreeMap<String, String>,
}

pub(crate) async fn create(
    State(supervisor): State<Shared>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let spec = spec(body.into()?)?;
    let make = move || {
        let made = supervisor.create_network(&spec)?;
        // What of the host is in its way is no reason not to have it.
        let obstacles = supervisor.networks().obstacles().unwrap_or_default();
        Ok::<_, hull_engine::Error>((made, obstacles))
    };
    let (made, obstacles) = blocking(make).await?;
    let answer = json!({ "Id": made.id(), "Warning": obstacles.join("\n") }).to_string();
    let kind = [(CONTENT_TYPE, "application/json")];
    Ok((StatusCode::CREATED, kind, answer).into_response())
}

fn spec(body: CreateBody) -> Result<NetworkSpec, ApiError> {
    let unsupported = |field: &str, value: &str, why: &str| {
        Err(ApiError::invalid(format!(
            "{field} {value} is not supported: {why}"
        )))
    };
    if BUILTIN.iter().any(|one| one.name == body.name)
        || body.name == hull_engine::network::DEFAULT_NETWORK
        || body.name == "default"
    {
        return Err(ApiError::forbidden(format!(
            "operation is not permitted on predefined {} network",
            body.name
        )));
    }
    if !matches!(body.driver.as_str(), "" | "bridge") {
        return Err(ApiError::not_found(format!(
            "could not find plugin {} in v1 plugin registry: plugin not found (bridge is the only driver)",
            body.driver
        )));
    }
    if !matches!(body.scope.as_str(), "" | "local") {
        return unsupported("Scope", &body.scope, "this host is in no swarm");
    }
    if body.ingress {
        return unsupported("Ingress", "true", "this host is in no swarm");
    }
    if body.config_only
        || body
            .config_from
            .get("Network")
            .is_some_and(|name| name != "")
    {
        return unsupported(
            "ConfigOnly and ConfigFrom",
            "",
            "a network has a configuration of its own",
        );
    }
    if !matches!(body.ipam.driver.as_str(), "" | "default") {
        return unsupported("IPAM.Driver", &body.ipam.driver, "default is the only one");
    }
    if let Some((name, _)) = body.ipam.options.first_key_value() {
        return unsupported("IPAM.Options", name, "the default driver has none");
    }
    let mut spec = NetworkSpec::new(body.name);
    spec.services = Service::NAMES.to_vec();
    spec.internal = body.internal;
    addresses(
        &mut spec,
        body.ipam.config,
        body.enable_ipv4,
        body.enable_ipv6,
    )?;
    for (name, value) in &body.options {
        option(&mut spec, name, value)?;
    }
    spec.options = body.options;
    spec.labels = body.labels;
    Ok(spec)
}

fn addresses(
    spec: &mut NetworkSpec,
    pools: Vec<IpamConfigBody>,
    v4: Option<bool>,
    v6: Option<bool>,
) -> Result<(), ApiError> {
    let or_auto = |wanted: bool| match wanted {
        true => Addressing::Auto,
        false => Addressing::Off,
    };
    spec.ipv4 = or_auto(v4.unwrap_or(true));
    spec.ipv6 = or_auto(v6.unwrap_or(false));
    for pool in pools {
        // One that says nothing lets the address space be chosen.
        if pool.subnet.is_empty() && pool.ip_range.is_empty() && pool.gateway.is_empty() {
            continue;
        }
        let subnet = subnet(&pool, &mut spec.auxiliary)?;
        let is_v6 = subnet.net.addr().is_ipv6();
        if is_v6 && v6 == Some(false) || !is_v6 && v4 == Some(false) {
            continue;
        }
        let family = if is_v6 {
            &mut spec.ipv6
        } else {
            &mut spec.ipv4
        };
        if matches!(family, Addressing::Subnet(_)) {
            return Err(ApiError::invalid(format!(
                "IPAM.Config {} is not supported: a network has one subnet of each family",
                subnet.net
            )));
        }
        *family = Addressing::Subnet(subnet);
    }
    Ok(())
}

fn subnet(
    pool: &IpamConfigBody,
    auxiliary: &mut BTreeMap<String, IpAddr>,
) -> Result<SubnetSpec, ApiError> {
    let wrong = |what: &str, text: &str| {
        ApiError::invalid(format!("invalid network config:\ninvalid {what} {text}"))
    };
    let net: IpNet = pool
        .subnet
        .parse()
        .map_err(|_| wrong("subnet", &pool.subnet))?;
    if net.addr() != net.network() {
        return Err(wrong(
            "subnet",
            &format!("{net}: it should be {}", net.trunc()),
        ));
    }
    let inside = |what: &str, text: &str| -> Result<IpAddr, ApiError> {
        let address = text.parse().map_err(|_| wrong(what, text))?;
        match net.contains(&address) {
            true => Ok(address),
            false => Err(wrong(what, &format!("{text}: parent subnet is {net}"))),
        }
    };
    let mut spec = SubnetSpec::new(net);
    if !pool.gateway.is_empty() {
        spec.gateway = Some(inside("gateway", &pool.gateway)?);
    }
    if !pool.ip_range.is_empty() {
        let range: IpNet = pool
            .ip_range
            .parse()
            .map_err(|_| wrong("ip-range", &pool.ip_range))?;
        if !net.contains(&range) {
            return Err(wrong(
                "ip-range",
                &format!("{range}: parent subnet is {net}"),
            ));
        }
        spec.range = Some(range.trunc());
    }
    for (name, text) in &pool.auxiliary_addresses {
        let address = inside("auxiliary address", text)?;
        spec.reserved.push(address);
        auxiliary.insert(name.clone(), address);
    }
    Ok(spec)
}

/// Options of Docker's bridge driver.
fn option(spec: &mut NetworkSpec, name: &str, value: &str) -> Result<(), ApiError> {
    let wrong = || ApiError::invalid(format!("invalid value of option {name}: {value:?}"));
    let flag = || match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong()),
    };
    match name {
        "com.docker.network.driver.mtu" => spec.mtu = value.parse().map_err(|_| wrong())?,
        "com.docker.network.bridge.enable_icc" => spec.inter_container = flag()?,
        "com.docker.network.bridge.enable_ip_masquerade" => spec.masquerade = flag()?,
        "com.docker.network.bridge.default_bridge" if !flag()? => {}
        _ => {
            return Err(ApiError::invalid(format!(
                "Options {name} is not supported: the mtu, enable_icc and enable_ip_masquerade of a bridge are"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(body: Value) -> Result<NetworkSpec, String> {
        let body = serde_json::from_value(body).unwrap();
        spec(body).map_err(|error| error.message)
    }

    #[test]
    fn a_network_is_made_as_it_is_described() {
        let spec = made(json!({
            "Name": "net", "Internal": true, "EnableIPv6": true, "Labels": { "a": "b" },
            "IPAM": { "Driver": "default", "Config": [
                { "Subnet": "10.5.0.0/24", "IPRange": "10.5.0.128/25", "Gateway": "10.5.0.7",
                  "AuxiliaryAddresses": { "router": "10.5.0.9" } },
                { "Subnet": "fd05::/64" },
            ] },
            "Options": { "com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.enable_icc": "false" },
        }))
        .unwrap();
        let Addressing::Subnet(v4) = &spec.ipv4 else {
            panic!()
        };
        assert_eq!(v4.gateway, Some("10.5.0.7".parse().unwrap()));
        assert_eq!(v4.range, Some("10.5.0.128/25".parse().unwrap()));
        assert_eq!(v4.reserved, ["10.5.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(spec.auxiliary["router"], v4.reserved[0]);
        assert!(matches!(spec.ipv6, Addressing::Subnet(_)));
        assert!(spec.internal && !spec.inter_container && spec.masquerade);
        assert_eq!((spec.mtu, spec.labels["a"].as_str()), (1400, "b"));
        let plain =
            made(json!({ "Name": "net", "Driver": "bridge", "IPAM": { "Config": [] } })).unwrap();
        assert_eq!(
            (plain.ipv4, plain.ipv6),
            (Addressing::Auto, Addressing::Off)
        );
    }

    #[test]
    fn what_cannot_be_made_is_refused_by_name() {
        let pool = |pool: Value| json!({ "Name": "n", "IPAM": { "Config": [pool] } });
        for (body, why) in [
            (json!({ "Name": "bridge" }), "predefined bridge"),
            (json!({ "Name": "none" }), "predefined none"),
            (
                json!({ "Name": "n", "Driver": "overlay" }),
                "plugin overlay",
            ),
            (json!({ "Name": "n", "Scope": "swarm" }), "Scope swarm"),
            (json!({ "Name": "n", "Ingress": true }), "Ingress"),
            (json!({ "Name": "n", "ConfigOnly": true }), "ConfigOnly"),
            (
                json!({ "Name": "n", "IPAM": { "Driver": "dhcp" } }),
                "IPAM.Driver dhcp",
            ),
            (
                json!({ "Name": "n", "Options": { "parent": "eth0" } }),
                "Options parent",
            ),
            (
                pool(json!({ "Subnet": "10.5.0.1/24" })),
                "should be 10.5.0.0/24",
            ),
            (pool(json!({ "Subnet": "x" })), "invalid subnet x"),
            (pool(json!({ "Gateway": "10.5.0.1" })), "invalid subnet"),
            (
                pool(json!({ "Subnet": "10.5.0.0/24", "Gateway": "10.6.0.1" })),
                "gateway 10.6.0.1",
            ),
            (
                pool(json!({ "Subnet": "10.5.0.0/24", "IPRange": "10.6.0.0/25" })),
                "ip-range",
            ),
        ] {
            let said = made(body).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
