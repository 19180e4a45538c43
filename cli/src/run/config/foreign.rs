//! What the daemon takes only as a microVM has it anyway.

use anyhow::bail;
use bollard::models::{
    DeviceMapping, DeviceRequest, HostConfig, HostConfigCgroupnsModeEnum, HostConfigIsolationEnum,
};

use super::some;
use crate::run::args::Foreign;

pub(super) fn apply(args: &Foreign, host: &mut HostConfig) -> anyhow::Result<()> {
    host.blkio_weight = args.blkio_weight;
    host.cgroup_parent.clone_from(&args.cgroup_parent);
    host.cgroupns_mode = match args.cgroupns.as_deref() {
        None => None,
        Some("") => Some(HostConfigCgroupnsModeEnum::EMPTY),
        Some("private") => Some(HostConfigCgroupnsModeEnum::PRIVATE),
        Some("host") => Some(HostConfigCgroupnsModeEnum::HOST),
        Some(other) => bail!("invalid --cgroupns {other:?}: private is expected"),
    };
    host.cpu_realtime_period = args.cpu_rt_period;
    host.cpu_realtime_runtime = args.cpu_rt_runtime;
    host.cpuset_cpus.clone_from(&args.cpuset_cpus);
    host.cpuset_mems.clone_from(&args.cpuset_mems);
    let devices: Vec<_> = args.device.iter().map(|text| device(text)).collect();
    host.devices = some(&devices);
    host.device_cgroup_rules = some(&args.device_cgroup_rule);
    host.device_requests = args.gpus.as_ref().map(|gpus| {
        vec![DeviceRequest {
            count: Some(gpus.parse().unwrap_or(-1)),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        }]
    });
    host.ipc_mode.clone_from(&args.ipc);
    host.isolation = match args.isolation.as_deref() {
        None => None,
        Some("" | "default") => Some(HostConfigIsolationEnum::DEFAULT),
        Some("process") => Some(HostConfigIsolationEnum::PROCESS),
        Some("hyperv") => Some(HostConfigIsolationEnum::HYPERV),
        Some(other) => bail!("invalid --isolation {other:?}: default is expected"),
    };
    host.memory_swappiness = args.memory_swappiness;
    host.oom_kill_disable = args.oom_kill_disable.then_some(true);
    host.pid_mode.clone_from(&args.pid);
    host.runtime.clone_from(&args.runtime);
    host.userns_mode.clone_from(&args.userns);
    host.uts_mode.clone_from(&args.uts);
    host.volume_driver.clone_from(&args.volume_driver);
    Ok(())
}

/// `/dev/fuse[:/dev/fuse[:rwm]]`.
fn device(text: &str) -> DeviceMapping {
    let mut parts = text.splitn(3, ':').map(str::to_owned);
    let source = parts.next();
    DeviceMapping {
        path_in_container: parts.next().or_else(|| source.clone()),
        path_on_host: source,
        cgroup_permissions: Some(parts.next().unwrap_or_else(|| "rwm".to_owned())),
    }
}
