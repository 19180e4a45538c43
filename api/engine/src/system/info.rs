//! `GET /info`.

use axum::extract::State;
use axum::response::Response;
use hull_image::registry;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::host;
use crate::containers::state_of;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::router::Shared;

pub(crate) async fn info(State(supervisor): State<Shared>) -> Result<Response, ApiError> {
    let info = blocking(move || Ok::<_, ApiError>(gather(&supervisor))).await?;
    Ok(lines::value(&info))
}

fn gather(supervisor: &Shared) -> Value {
    let containers = supervisor.list();
    let count = |states: &[&str]| {
        let is = |state: &str| states.contains(&state);
        containers
            .iter()
            .filter(|container| is(state_of(container)))
            .count()
    };
    let root = supervisor.paths().root();
    let images = supervisor.images().list().map_or(0, |list| list.len());
    let open_files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    json!({
        "ID": id(&root.display().to_string()),
        "Containers": containers.len(),
        "ContainersRunning": count(&["running", "restarting"]),
        "ContainersPaused": count(&["paused"]),
        "ContainersStopped": count(&["created", "exited"]),
        "Images": images,
        "Driver": "hull",
        "DriverStatus": [["Isolation", "microVM"], ["Images", "EROFS"], ["Writable layer", "ext4"]],
        "Plugins": { "Volume": ["local"], "Network": ["bridge", "null"], "Authorization": null, "Log": ["json-file", "none"] },
        "MemoryLimit": true,
        "SwapLimit": false,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": false,
        "CPUSet": false,
        "PidsLimit": false,
        "OomKillDisable": false,
        "IPv4Forwarding": true,
        "BridgeNfIptables": false,
        "BridgeNfIp6tables": false,
        "Debug": false,
        "NFd": open_files,
        "NGoroutines": 0,
        "SystemTime": Timestamp::now().to_string(),
        "LoggingDriver": "json-file",
        "CgroupDriver": "none",
        "CgroupVersion": "2",
        "NEventsListener": 0,
        "KernelVersion": host::kernel(),
        "OperatingSystem": host::release("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
        "OSVersion": host::release("VERSION_ID").unwrap_or_default(),
        "OSType": "linux",
        "Architecture": "x86_64",
        "NCPU": host::processors(),
        "MemTotal": host::memory(),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registries(),
        "GenericResources": null,
        "DockerRootDir": root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": host::name(),
        "Labels": [],
        "ExperimentalBuild": true,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": { "hull": { "path": "hull-vmm" } },
        "DefaultRuntime": "hull",
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": null,
        },
        // Containers outlive the daemon.
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "hull-agent",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "SecurityOptions": ["name=microvm"],
        "DefaultAddressPools": [],
        "CDISpecDirs": [],
        "Warnings": null,
    })
}

/// Which registries are spoken to without TLS.
fn registries() -> Value {
    let insecure =
        registry::Config::from_env().map_or_else(|_| Vec::new(), |config| config.insecure);
    let index = |name: &str, secure: bool| json!({ "Name": name, "Mirrors": [], "Secure": secure, "Official": name == "docker.io" });
    let mut known = Map::new();
    known.insert("docker.io".to_owned(), index("docker.io", true));
    for name in insecure {
        known.insert(name.clone(), index(&name, false));
    }
    json!({ "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"], "IndexConfigs": known, "Mirrors": [] })
}

/// What tells this daemon from others: the host's own identifier and where its containers are.
fn id(root: &str) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let digest = hull_image::Digest::of(format!("{}{root}", machine.trim()).as_bytes()).hex();
    let group = |(from, to): (usize, usize)| digest.get(from..to).unwrap_or_default();
    [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
        .map(group)
        .join("-")
}
