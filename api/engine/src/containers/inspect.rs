//! `GET /containers/{id}/json`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use hull_engine::network::DEFAULT_NETWORK;
use hull_engine::supervisor::{Container, Supervisor};
use hull_engine::{Checked, Health, LogDriver, RestartPolicy, Status};
use serde_json::{Map, Value, json};

use super::{mounts, shown};
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::words;

pub(crate) async fn inspect(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let mut details = details(&supervisor, &container);
    if params.flag("size") {
        let images = supervisor.images().clone();
        let sizes = blocking(move || Ok::<_, ApiError>(shown::sizes(&container, &images))).await?;
        details["SizeRw"] = json!(sizes.0);
        details["SizeRootFs"] = json!(sizes.1);
    }
    Ok(lines::value(&details))
}

fn details(supervisor: &Supervisor, container: &Arc<Container>) -> Value {
    let (state, client, command) = (container.state(), container.client(), container.command());
    let (path, args) = match command.split_first() {
        Some((path, args)) => (path.clone(), args.to_vec()),
        None => (String::new(), Vec::new()),
    };
    let execs = container.execs();
    json!({
        "Id": container.id().as_str(),
        "Created": state.created.to_string(),
        "Path": path,
        "Args": args,
        "State": self::state(container),
        "Image": container.image_id(),
        // These files are in the guest, and only there.
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": container.log_path().display().to_string(),
        "Name": format!("/{}", container.name()),
        "RestartCount": container.restart_count(),
        "Driver": "hull",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) },
        "HostConfig": host_config(container, &client),
        "GraphDriver": {
            "Name": "hull",
            "Data": { "Directory": container.path().display().to_string() },
        },
        "Mounts": mounts::mounts(supervisor, container),
        "Config": config(container, &client),
        "NetworkSettings": network_settings(container),
    })
}

fn state(container: &Container) -> Value {
    let (state, word) = (container.state(), shown::state(container));
    let mut shown = json!({
        "Status": word,
        "Running": shown::is_up(container),
        "Paused": word == "paused",
        "Restarting": word == "restarting",
        // Hull's own: what has no state of Docker's.
        "Suspended": state.status == Status::Suspended,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.vmm.map_or(0, |vmm| vmm.pid),
        "ExitCode": state.exit_code.unwrap_or_default(),
        "Error": state.error,
        "StartedAt": words::time(state.started),
        "FinishedAt": words::time(state.finished),
    });
    if let Some(health) = container.health() {
        shown["Health"] = self::health(&health);
    }
    shown
}

fn health(health: &Health) -> Value {
    let checked = |checked: &Checked| {
        json!({
            "Start": checked.start.to_string(),
            "End": checked.end.to_string(),
            "ExitCode": checked.exit_code,
            "Output": checked.output,
        })
    };
    json!({
        "Status": health.status.as_str(),
        "FailingStreak": health.streak,
        "Log": health.log.iter().map(checked).collect::<Vec<_>>(),
    })
}

/// What the client said, over what holds where it said nothing.
fn host_config(container: &Container, client: &Value) -> Value {
    let mut shown = default_host_config();
    let given = client.get("HostConfig").and_then(Value::as_object);
    for (name, value) in given.into_iter().flatten() {
        shown.insert(name.clone(), value.clone());
    }
    let config = container.config();
    let memory = config.memory.unwrap_or_default();
    let options = client.pointer("/HostConfig/LogConfig/Config").cloned();
    let over = json!({
        "NetworkMode": shown::network_mode(client),
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Memory": memory,
        // Docker's default is as much swap as memory; a microVM has none.
        "MemorySwap": memory,
        "AutoRemove": config.auto_remove,
        "Privileged": config.privileged,
        "ReadonlyRootfs": config.read_only,
        "Init": config.init,
        "Runtime": "hull",
        "LogConfig": {
            "Type": match config.log.driver {
                LogDriver::JsonFile => "json-file",
                LogDriver::None => "none",
            },
            "Config": options.unwrap_or_else(|| json!({})),
        },
        "RestartPolicy": restart_policy(config.restart),
    });
    if let Value::Object(over) = over {
        shown.extend(over);
    }
    // As clients say that it is not for them to decide.
    if shown.get("MemorySwappiness") == Some(&json!(-1)) {
        shown.insert("MemorySwappiness".to_owned(), Value::Null);
    }
    // Clients say 0 where they mean the default.
    for (name, value) in default_host_config() {
        if shown
            .get(&name)
            .is_some_and(|known| known == &json!(0) || known == "")
        {
            shown.insert(name, value);
        }
    }
    Value::Object(shown)
}

fn restart_policy(policy: RestartPolicy) -> Value {
    let (name, count) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { maximum } => ("on-failure", maximum.unwrap_or_default()),
    };
    json!({ "Name": name, "MaximumRetryCount": count })
}

/// Every field, as Docker shows it for a container about which nothing was said.
fn default_host_config() -> Map<String, Value> {
    let shown = json!({
        "Binds": null, "ContainerIDFile": "", "LogConfig": { "Type": "json-file", "Config": {} },
        "NetworkMode": "none", "PortBindings": {}, "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": null,
        "CapDrop": null, "CgroupnsMode": "private", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": null,
        "GroupAdd": null, "IpcMode": "private", "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "",
        "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "",
        "UsernsMode": "", "ShmSize": 64 << 20, "Runtime": "hull", "Isolation": "", "CpuShares": 0, "Memory": 0,
        "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0,
        "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": [],
        "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": null, "OomKillDisable": false, "PidsLimit": null, "Ulimits": [], "CpuCount": 0,
        "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null, "ReadonlyPaths": null,
    });
    match shown {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What the container was made of: the client's words, completed with its image's when it was made.
fn config(container: &Container, client: &Value) -> Value {
    let config = container.config();
    let shown = json!({
        "Hostname": config.hostname.unwrap_or_else(|| container.id().short().to_owned()),
        "Domainname": "",
        "User": config.user.unwrap_or_default(),
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": [],
        "Cmd": null,
        "Image": config.image,
        "Volumes": null,
        "WorkingDir": config.working_dir.unwrap_or_default(),
        "Entrypoint": null,
        "OnBuild": null,
        "Labels": config.labels,
    });
    let Value::Object(mut shown) = shown else {
        return shown;
    };
    for (name, value) in client.as_object().into_iter().flatten() {
        let elsewhere = matches!(
            name.as_str(),
            "HostConfig" | "NetworkingConfig" | "Hostname" | "Labels"
        );
        if !elsewhere {
            shown.insert(name.clone(), value.clone());
        }
    }
    Value::Object(shown)
}

fn network_settings(container: &Container) -> Value {
    let networks = shown::networks(container);
    let runs = matches!(container.state().status, Status::Running | Status::Paused);
    let mut settings = json!({
        "Bridge": "",
        // What a sandbox is to Docker is the machine here.
        "SandboxID": if runs { container.id().as_str() } else { "" },
        "SandboxKey": "", "Ports": ports(container), "HairpinMode": false,
        "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null, "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
    });
    // Clients of the first versions look for the default network here.
    if let Some(default) = networks.get(DEFAULT_NETWORK) {
        for name in [
            "EndpointID",
            "Gateway",
            "GlobalIPv6Address",
            "GlobalIPv6PrefixLen",
            "IPAddress",
            "IPPrefixLen",
            "IPv6Gateway",
            "MacAddress",
        ] {
            settings[name] = default[name].clone();
        }
    }
    settings["Networks"] = networks;
    settings
}

/// Each port of the container, with where on the host it is; `null` for one that is only exposed.
fn ports(container: &Container) -> Value {
    let mut all = Map::new();
    for port in shown::ports(container) {
        let shown = all.entry(format!("{}/{}", port.private, port.protocol));
        let shown = shown.or_insert(Value::Null);
        if let Some((address, host)) = port.public {
            let binding = json!({ "HostIp": address, "HostPort": host.to_string() });
            match shown {
                Value::Array(all) => all.push(binding),
                other => *other = json!([binding]),
            }
        }
    }
    Value::Object(all)
}
