//! Every field of a container's configuration, and what is done with it. None is ignored: what cannot be honoured is refused by its
//! name, unless it has the value that it has anyway. `REFUSED.md` is made of this table.

use serde_json::Value;

use crate::error::ApiError;
use crate::params::Params;

/// What is done with a field.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// It does what the specification says.
    Honoured,
    /// It is kept and shown, and means nothing more to Docker on Linux, either.
    Kept,
    /// It is refused unless it is zero, empty or one of these.
    Refused(&'static [&'static str], &'static str),
    /// Some of its values are refused, where they are read.
    Partly(&'static str),
}

use Rule::{Honoured, Kept, Partly, Refused};

const BLOCK: &str = "a microVM's disks are its own, and their bandwidth is not divided by the host's control groups";
const CGROUP: &str = "a container's control group is in its microVM, alone";
const DEVICE: &str = "a microVM has no devices of the host";
const KERNEL: &str = "each container has a kernel of its own, so it shares namespaces neither with the host nor with other containers";
const LINKS: &str =
    "containers find each other by name and alias in networks that are made: use one of them";
const REALTIME: &str = "the guest's kernel has no real-time groups";
const PROPAGATION: &str = "what a guest mounts is never seen outside, so shared and rshared are refused, and what the host mounts is always seen below a directory that is shared";
const WINDOWS: &str = "it is for Windows";

/// All fields of the body of `/containers/create` in version 1.51.
const FIELDS: &[(&str, Rule)] = &[
    ("Hostname", Honoured),
    ("Domainname", Honoured),
    ("User", Honoured),
    ("AttachStdin", Kept),
    ("AttachStdout", Kept),
    ("AttachStderr", Kept),
    ("ExposedPorts", Kept),
    ("Tty", Honoured),
    ("OpenStdin", Honoured),
    ("StdinOnce", Honoured),
    ("Env", Honoured),
    ("Cmd", Honoured),
    ("Healthcheck", Honoured),
    ("ArgsEscaped", Kept),
    ("Image", Honoured),
    ("Volumes", Honoured),
    ("WorkingDir", Honoured),
    ("Entrypoint", Honoured),
    ("NetworkDisabled", Honoured),
    ("MacAddress", Honoured),
    ("OnBuild", Kept),
    ("Labels", Honoured),
    ("StopSignal", Honoured),
    ("StopTimeout", Honoured),
    ("Shell", Kept),
    ("HostConfig.CpuShares", Honoured),
    ("HostConfig.Memory", Honoured),
    ("HostConfig.CgroupParent", Refused(&[], CGROUP)),
    ("HostConfig.BlkioWeight", Refused(&[], BLOCK)),
    ("HostConfig.BlkioWeightDevice", Refused(&[], BLOCK)),
    ("HostConfig.BlkioDeviceReadBps", Refused(&[], BLOCK)),
    ("HostConfig.BlkioDeviceWriteBps", Refused(&[], BLOCK)),
    ("HostConfig.BlkioDeviceReadIOps", Refused(&[], BLOCK)),
    ("HostConfig.BlkioDeviceWriteIOps", Refused(&[], BLOCK)),
    ("HostConfig.CpuPeriod", Honoured),
    ("HostConfig.CpuQuota", Honoured),
    ("HostConfig.CpuRealtimePeriod", Refused(&[], REALTIME)),
    ("HostConfig.CpuRealtimeRuntime", Refused(&[], REALTIME)),
    (
        "HostConfig.CpusetCpus",
        Refused(
            &[],
            "vCPUs are not bound to processors of the host: use --cpus",
        ),
    ),
    (
        "HostConfig.CpusetMems",
        Refused(&[], "a microVM has one memory node"),
    ),
    ("HostConfig.Devices", Refused(&[], DEVICE)),
    ("HostConfig.DeviceCgroupRules", Refused(&[], DEVICE)),
    ("HostConfig.DeviceRequests", Refused(&[], DEVICE)),
    (
        "HostConfig.KernelMemoryTCP",
        Refused(&[], "the guest's kernel counts no such memory"),
    ),
    ("HostConfig.MemoryReservation", Honoured),
    (
        "HostConfig.MemorySwap",
        Partly("a microVM has no swap: only 0, -1 and the value of Memory are taken"),
    ),
    (
        "HostConfig.MemorySwappiness",
        Refused(&["-1"], "a microVM has no swap"),
    ),
    ("HostConfig.NanoCpus", Honoured),
    (
        "HostConfig.OomKillDisable",
        Refused(&[], "a guest without memory would stand still for ever"),
    ),
    ("HostConfig.Init", Honoured),
    ("HostConfig.PidsLimit", Honoured),
    ("HostConfig.Ulimits", Honoured),
    ("HostConfig.CpuCount", Refused(&[], WINDOWS)),
    ("HostConfig.CpuPercent", Refused(&[], WINDOWS)),
    ("HostConfig.IOMaximumIOps", Refused(&[], WINDOWS)),
    ("HostConfig.IOMaximumBandwidth", Refused(&[], WINDOWS)),
    ("HostConfig.Binds", Partly(PROPAGATION)),
    ("HostConfig.ContainerIDFile", Kept),
    (
        "HostConfig.LogConfig",
        Partly("the drivers are json-file, with the options max-size and max-file, and none"),
    ),
    (
        "HostConfig.NetworkMode",
        Partly(
            "each container has a kernel of its own, so that host and container:NAME are no networks for it",
        ),
    ),
    (
        "HostConfig.PortBindings",
        Partly("ports are published of TCP and UDP"),
    ),
    ("HostConfig.RestartPolicy", Honoured),
    ("HostConfig.AutoRemove", Honoured),
    (
        "HostConfig.VolumeDriver",
        Refused(&["local"], "local is the only driver of volumes"),
    ),
    ("HostConfig.VolumesFrom", Honoured),
    (
        "HostConfig.Mounts",
        Partly(
            "mounts of type bind, volume and tmpfs are taken; of BindOptions neither NonRecursive nor ReadOnlyNonRecursive, since a directory is shared with all that is below it, and no shared Propagation, since what a guest mounts is never seen outside; of tmpfs only exec and noexec as Options",
        ),
    ),
    ("HostConfig.ConsoleSize", Honoured),
    ("HostConfig.Annotations", Kept),
    ("HostConfig.CapAdd", Honoured),
    ("HostConfig.CapDrop", Honoured),
    ("HostConfig.CgroupnsMode", Refused(&["private"], KERNEL)),
    ("HostConfig.Dns", Honoured),
    ("HostConfig.DnsOptions", Honoured),
    ("HostConfig.DnsSearch", Honoured),
    ("HostConfig.ExtraHosts", Honoured),
    ("HostConfig.GroupAdd", Honoured),
    ("HostConfig.IpcMode", Refused(&["private"], KERNEL)),
    ("HostConfig.Cgroup", Refused(&[], CGROUP)),
    ("HostConfig.Links", Refused(&[], LINKS)),
    ("HostConfig.OomScoreAdj", Honoured),
    ("HostConfig.PidMode", Refused(&["private"], KERNEL)),
    ("HostConfig.Privileged", Honoured),
    ("HostConfig.PublishAllPorts", Honoured),
    ("HostConfig.ReadonlyRootfs", Honoured),
    (
        "HostConfig.SecurityOpt",
        Partly(
            "no-new-privileges is honoured, and seccomp=unconfined, apparmor=unconfined and label=disable are what a microVM has; profiles of the host confine nothing in a guest",
        ),
    ),
    ("HostConfig.StorageOpt", Partly("size is the only option")),
    ("HostConfig.Tmpfs", Honoured),
    ("HostConfig.UTSMode", Refused(&["private"], KERNEL)),
    (
        "HostConfig.UsernsMode",
        Refused(
            &["host"],
            "users of a guest are never users of the host, so there is nothing to map",
        ),
    ),
    ("HostConfig.ShmSize", Honoured),
    ("HostConfig.Sysctls", Honoured),
    (
        "HostConfig.Runtime",
        Refused(&["hull"], "hull is the only runtime"),
    ),
    ("HostConfig.Isolation", Refused(&["default"], WINDOWS)),
    (
        "HostConfig.MaskedPaths",
        Refused(
            &[],
            "what Docker masks is masked, and with Privileged nothing is",
        ),
    ),
    (
        "HostConfig.ReadonlyPaths",
        Refused(
            &[],
            "what Docker makes read-only is read-only, and with Privileged nothing is",
        ),
    ),
    (
        "NetworkingConfig.EndpointsConfig",
        Partly(
            "DriverOpts, IPAMConfig.LinkLocalIPs and, in the default network, Links are not taken",
        ),
    ),
];

/// Parameters of queries that are refused when they are given.
const PARAMETERS: &[(&str, &str)] = &[
    ("DELETE /containers/{id}?link", LINK),
    ("DELETE /images/{name}?platforms", ONE_PLATFORM),
    ("GET /images/json?manifests", ONE_PLATFORM),
    ("GET /images/{name}/json?manifests", ONE_PLATFORM),
    ("GET /containers/{id}/checkpoints?dir", CHECKPOINT),
    (
        "DELETE /containers/{id}/checkpoints/{checkpoint}?dir",
        CHECKPOINT,
    ),
    ("POST /build?cachefrom", BUILD_CACHE),
    ("POST /build?outputs", BUILDKIT),
    ("POST /build?session", BUILDKIT),
    ("POST /build?squash", SQUASH),
    ("POST /build/prune?keep-storage", SIZES),
    ("POST /build/prune?max-used-space", SIZES),
    ("POST /build/prune?min-free-space", SIZES),
    ("POST /build/prune?reserved-space", SIZES),
    (
        "POST /containers/{id}/checkpoints, CheckpointDir",
        CHECKPOINT,
    ),
    ("POST /containers/{id}/start?checkpoint-dir", CHECKPOINT),
    (
        "POST /containers/{id}/update, all but Memory, MemoryReservation, MemorySwap, NanoCpus, CpuPeriod, CpuQuota, PidsLimit and RestartPolicy",
        UPDATE,
    ),
];

const BUILD_CACHE: &str = "steps are found again among what this daemon has built itself";
const BUILDKIT: &str = "it is for BuildKit, which is not here";
const SIZES: &str = "all that nobody needs is removed";
const SQUASH: &str = "each step makes a layer";
const LINK: &str = "containers have no links";
const ONE_PLATFORM: &str = "an image is kept for one platform";
const CHECKPOINT: &str = "checkpoints are where their container is";
const UPDATE: &str = "of a container that is there only limits of memory, processors and processes, and what happens after its end, can be changed";

/// What can be changed of a container that is there.
pub(crate) const UPDATABLE: [&str; 8] = [
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "NanoCpus",
    "CpuPeriod",
    "CpuQuota",
    "PidsLimit",
    "RestartPolicy",
];

/// Refuses what cannot be honoured.
///
/// # Errors
/// The first field that cannot be, with the reason.
pub(crate) fn refuse(body: &Value) -> Result<(), ApiError> {
    for (path, rule) in FIELDS {
        let Refused(neutral, _) = rule else {
            continue;
        };
        let pointer = format!("/{}", path.replace('.', "/"));
        if let Some(value) = body.pointer(&pointer)
            && (!is_zero(value) || unmasks(path, value, body))
            && !neutral.contains(&plain(value).as_str())
        {
            return Err(unsupported(path, value));
        }
    }
    Ok(())
}

/// Whether this asks for nothing to be masked (`systempaths=unconfined`), of a container in which something is.
fn unmasks(path: &str, value: &Value, body: &Value) -> bool {
    let privileged = body.pointer("/HostConfig/Privileged");
    matches!(path, "HostConfig.MaskedPaths" | "HostConfig.ReadonlyPaths")
        && value.is_array()
        && privileged != Some(&Value::Bool(true))
}

/// Refuses to change what stays as it is while a container is there.
///
/// # Errors
/// The first field that would be changed.
pub(crate) fn refuse_update(body: &Value) -> Result<(), ApiError> {
    for (path, _) in FIELDS {
        let Some(name) = path
            .strip_prefix("HostConfig.")
            .filter(|name| !UPDATABLE.contains(name))
        else {
            continue;
        };
        if let Some(value) = body.get(name)
            && !is_zero(value)
        {
            return Err(ApiError::invalid(format!(
                "{name} {} is not supported: {UPDATE}",
                plain(value)
            )));
        }
    }
    Ok(())
}

/// Refuses a parameter of [`PARAMETERS`] if it is given and does not say no.
///
/// # Errors
/// Its name and the reason.
pub(crate) fn refuse_parameter(params: &Params, parameter: &str) -> Result<(), ApiError> {
    let (_, name) = parameter.rsplit_once('?').unwrap_or_default();
    match params.flag(name) {
        true => Err(refused_parameter(parameter)),
        false => Ok(()),
    }
}

/// That a parameter of [`PARAMETERS`] is given, and why that is an error.
pub(crate) fn refused_parameter(parameter: &str) -> ApiError {
    let (_, name) = parameter.rsplit_once('?').unwrap_or_default();
    let why = PARAMETERS.iter().find(|(known, _)| *known == parameter);
    let why = why.map_or("Hull has nothing like it", |(_, why)| *why);
    ApiError::invalid(format!("the parameter {name} is not supported: {why}"))
}

/// That checkpoints be kept elsewhere, as the parameter `name` says, is refused.
pub(crate) fn elsewhere(name: &str) -> ApiError {
    ApiError::invalid(format!(
        "the parameter {name} is not supported: {CHECKPOINT}"
    ))
}

/// A value of a field, or of a part of it, that is refused, with the reason that the table gives.
pub(crate) fn unsupported(path: &str, value: &Value) -> ApiError {
    let reason = |(known, rule): &(&str, Rule)| match rule {
        Refused(_, why) | Partly(why) if path.starts_with(known) => Some(*why),
        _ => None,
    };
    let why = FIELDS
        .iter()
        .find_map(reason)
        .unwrap_or("Hull has nothing like it");
    let mut text = plain(value);
    if text.chars().count() > 60 {
        text = text.chars().take(59).chain(['…']).collect();
    }
    ApiError::invalid(format!("{path} {text} is not supported: {why}"))
}

/// Whether a value is what a client sends that says nothing.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_zero),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
