//! What a microVM answers to a request that succeeds.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Balloon, Draft, MachineConfig, MemoryHotplug};
use crate::stage::Stage;

/// The version of Firecracker whose API this is; clients decide by it what they can ask for.
pub const FIRECRACKER_VERSION: &str = "1.17.0";

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is done, and there is nothing to say: 204.
    Done,
    /// To `GET /`.
    Instance(InstanceInfo),
    /// To `GET /version`.
    Version(Version),
    /// To `GET /vm/config`.
    VmConfig(Box<Draft>),
    /// To `GET /machine-config`.
    MachineConfig(MachineConfig),
    /// To `GET /balloon`.
    Balloon(Balloon),
    /// To `GET /balloon/statistics`.
    BalloonStatistics(Box<BalloonStatistics>),
    /// To `GET /balloon/hinting/status`.
    HintingStatus(HintingStatus),
    /// To `GET /hotplug/memory`.
    MemoryHotplug(MemoryHotplugStatus),
    /// To `GET /mmds`.
    Mmds(Value),
    /// To anything: JSON that another process has written.
    Json(String),
    /// To `GET /metrics`: Prometheus' text.
    Metrics(String),
}

/// Which microVM this is, and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceInfo {
    /// The name of the program.
    pub app_name: String,
    /// The name of the microVM.
    pub id: String,
    /// What it does.
    pub state: Stage,
    /// The version of the program.
    pub vmm_version: String,
}

/// Versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// See [`FIRECRACKER_VERSION`].
    pub firecracker_version: String,
    /// The version of the program. Hull's own field; empty from Firecracker.
    #[serde(default)]
    pub hull_version: String,
}

/// What the guest last reported on its memory (virtio 1.3, 5.5.6.3). What it did not report is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonStatistics {
    /// Pages of 4 KiB that the balloon is to hold.
    pub target_pages: u64,
    /// Pages of 4 KiB that it holds.
    pub actual_pages: u64,
    /// What it is to hold, in MiB.
    pub target_mib: u64,
    /// What it holds, in MiB.
    pub actual_mib: u64,
    /// Read from swap, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_in: Option<u64>,
    /// Written to swap, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_out: Option<u64>,
    /// Page faults with I/O.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
    /// Page faults without I/O.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor_faults: Option<u64>,
    /// Not used for anything, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_memory: Option<u64>,
    /// All that there is, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_memory: Option<u64>,
    /// What could be had without swapping, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_memory: Option<u64>,
    /// What could be had without any I/O, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_caches: Option<u64>,
    /// Huge pages that were had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugetlb_allocations: Option<u64>,
    /// Huge pages that were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugetlb_failures: Option<u64>,
    /// Processes killed for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kill: Option<u64>,
    /// Allocations that had to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc_stall: Option<u64>,
    /// Pages looked at in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub async_scan: Option<u64>,
    /// Pages looked at while something waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_scan: Option<u64>,
    /// Pages reclaimed in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub async_reclaim: Option<u64>,
    /// Pages reclaimed while something waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_reclaim: Option<u64>,
}

/// How far a run of free page hinting is (virtio 1.3, 5.5.6.4): the command ids of both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HintingStatus {
    /// The last one of the host.
    pub host_cmd: u32,
    /// The last one of the guest, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_cmd: Option<u32>,
}

/// Memory that can be plugged in, and how much is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryHotplugStatus {
    /// See [`MemoryHotplug::total_size_mib`].
    pub total_size_mib: u64,
    /// See [`MemoryHotplug::slot_size_mib`].
    pub slot_size_mib: u64,
    /// See [`MemoryHotplug::block_size_mib`].
    pub block_size_mib: u64,
    /// What the guest has plugged in, in MiB.
    pub plugged_size_mib: u64,
    /// What it was asked to, in MiB.
    pub requested_size_mib: u64,
}

impl MemoryHotplugStatus {
    /// Of the device `config`, with sizes in MiB.
    #[must_use]
    pub fn new(config: &MemoryHotplug, plugged_size_mib: u64, requested_size_mib: u64) -> Self {
        Self {
            total_size_mib: config.total_size_mib.into(),
            slot_size_mib: config.slot_size_mib.into(),
            block_size_mib: config.block_size_mib.into(),
            plugged_size_mib,
            requested_size_mib,
        }
    }
}

impl InstanceInfo {
    /// The microVM `id`, run by Hull of the version `vmm_version`.
    #[must_use]
    pub fn new(id: impl Into<String>, state: Stage, vmm_version: impl Into<String>) -> Self {
        Self {
            app_name: "Hull".to_owned(),
            id: id.into(),
            state,
            vmm_version: vmm_version.into(),
        }
    }
}

impl Version {
    /// Of a program of the version `hull_version`.
    #[must_use]
    pub fn new(hull_version: impl Into<String>) -> Self {
        Self {
            firecracker_version: FIRECRACKER_VERSION.to_owned(),
            hull_version: hull_version.into(),
        }
    }
}

/// What JSON is called.
pub const JSON: &str = "application/json";
/// What Prometheus' text form is called.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Reply {
    /// The media type of the body.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Metrics(_) => PROMETHEUS,
            _ => JSON,
        }
    }

    /// The body of the answer; none for [`Reply::Done`].
    ///
    /// # Errors
    /// None that is known: everything here can be written as JSON.
    pub fn body(&self) -> serde_json::Result<Option<Vec<u8>>> {
        let body = match self {
            Self::Done => return Ok(None),
            Self::Instance(info) => serde_json::to_vec(info),
            Self::Version(version) => serde_json::to_vec(version),
            Self::VmConfig(config) => serde_json::to_vec(config),
            Self::MachineConfig(machine) => serde_json::to_vec(machine),
            Self::Balloon(balloon) => serde_json::to_vec(balloon),
            Self::BalloonStatistics(statistics) => serde_json::to_vec(statistics),
            Self::HintingStatus(status) => serde_json::to_vec(status),
            Self::MemoryHotplug(status) => serde_json::to_vec(status),
            Self::Mmds(Value::Null) => Ok(b"{}".to_vec()),
            Self::Mmds(value) => serde_json::to_vec(value),
            Self::Json(json) => Ok(json.clone().into_bytes()),
            Self::Metrics(text) => Ok(text.clone().into_bytes()),
        };
        body.map(Some)
    }
}
