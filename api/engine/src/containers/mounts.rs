//! `Mounts` of a container.

use std::path::PathBuf;

use hull_engine::supervisor::{Container, Supervisor};
use hull_engine::{Mount, MountSource};
use serde_json::{Value, json};

/// What is mounted of the host, and what `--mount` asked for in memory. `--tmpfs` is not listed there, as with Docker.
pub(super) fn mounts(supervisor: &Supervisor, container: &Container) -> Value {
    let of_host = container.config().mounts;
    let mut shown: Vec<Value> = of_host.iter().map(|one| mount(supervisor, one)).collect();
    let client = container.client();
    let asked = client
        .pointer("/HostConfig/Mounts")
        .and_then(Value::as_array);
    let in_memory = asked
        .into_iter()
        .flatten()
        .filter(|one| one["Type"] == "tmpfs");
    shown.extend(in_memory.map(|one| {
        json!({
            "Type": "tmpfs",
            "Source": "",
            "Destination": one["Target"],
            "Mode": "",
            "RW": one["ReadOnly"] != true,
            "Propagation": "",
        })
    }));
    shown.sort_by_cached_key(|one| one["Destination"].as_str().unwrap_or_default().to_owned());
    Value::Array(shown)
}

fn mount(supervisor: &Supervisor, mount: &Mount) -> Value {
    let mut shown = json!({
        "Destination": mount.target,
        "Mode": mount.mode,
        "RW": !mount.read_only,
        "Propagation": mount.propagation,
    });
    match &mount.source {
        MountSource::Bind { path, .. } => {
            shown["Type"] = json!("bind");
            shown["Source"] = json!(path);
        }
        MountSource::Volume { name, .. } => {
            let volume = supervisor.volumes().find(name);
            shown["Type"] = json!("volume");
            shown["Name"] = json!(name);
            shown["Source"] = json!(volume.map_or_else(|_| PathBuf::new(), |one| one.mountpoint));
            shown["Driver"] = json!("local");
        }
    }
    shown
}
