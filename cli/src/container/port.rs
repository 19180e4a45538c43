//! `hull port`: which ports of the host lead to a container.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::bail;
use serde::Deserialize;

use crate::client::{Daemon, escaped};
use crate::complete;
use crate::context::Context;
use crate::out;

/// Show which ports of the host lead to a container
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hull port web\n  hull port web 80\n  hull port dns 53/udp")]
pub(crate) struct Args {
    /// Its name, its id, or the beginning of that
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
    /// Only those that lead to this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    network_settings: Settings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_ip: String,
    host_port: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let path = format!("/containers/{}/json", escaped(&args.container));
    let seen: Seen = daemon.get(&path).await?;
    let ports = seen.network_settings.ports.unwrap_or_default();
    out::print(&shown(&ports, &args)?)?;
    Ok(ExitCode::SUCCESS)
}

fn shown(ports: &BTreeMap<String, Option<Vec<Binding>>>, args: &Args) -> anyhow::Result<String> {
    let mut text = String::new();
    if let Some(port) = &args.port {
        let wanted = match port.contains('/') {
            true => port.clone(),
            false => format!("{port}/tcp"),
        };
        let bindings = ports.get(&wanted).and_then(Option::as_ref);
        let Some(bindings) = bindings.filter(|all| !all.is_empty()) else {
            bail!("no public port '{wanted}' published for {}", args.container);
        };
        for binding in bindings {
            writeln!(text, "{}", address(binding))?;
        }
        return Ok(text);
    }
    let number = |port: &str| {
        port.split('/')
            .next()
            .and_then(|text| text.parse::<u16>().ok())
    };
    let mut all: Vec<_> = ports.iter().collect();
    all.sort_by_key(|(port, _)| (number(port), *port));
    for (port, bindings) in all {
        for binding in bindings.iter().flatten() {
            writeln!(text, "{port} -> {}", address(binding))?;
        }
    }
    Ok(text)
}

fn address(binding: &Binding) -> String {
    let Binding { host_ip, host_port } = binding;
    match host_ip.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{host_port}"),
        _ => format!("{host_ip}:{host_port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_of(port: Option<&str>) -> anyhow::Result<String> {
        let ports = serde_json::json!({
            "443/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8443" }],
            "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }, { "HostIp": "::", "HostPort": "8080" }],
            "53/udp": null,
        });
        let args = Args {
            container: "web".to_owned(),
            port: port.map(str::to_owned),
        };
        shown(&serde_json::from_value(ports)?, &args)
    }

    #[test]
    fn ports_are_shown_in_their_order() {
        let all = "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n443/tcp -> 127.0.0.1:8443\n";
        assert_eq!(shown_of(None).unwrap(), all);
        assert_eq!(shown_of(Some("443")).unwrap(), "127.0.0.1:8443\n");
        let error = shown_of(Some("53/udp")).unwrap_err().to_string();
        assert_eq!(error, "no public port '53/udp' published for web");
    }
}
