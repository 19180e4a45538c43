//! What can be asked of a microVM: one [`Request`] for each path and method, parsed and checked.
//!
//! Whoever consumes them never sees HTTP or JSON. [`Request::parse`] checks all that can be known from the request alone;
//! what depends on the machine is the business of [`crate::Stage`] and [`crate::config::Draft::changed_by`].

mod action;
mod body;
pub(crate) mod route;
#[cfg(test)]
pub(crate) mod samples;
mod snapshot;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use action::{Action, ActionBody, VmBody, VmState};
pub use route::{Method, Parsed, ROUTES, Route};
pub use snapshot::{
    DriveOverride, LoadHugePages, MemoryBackend, MemoryBackendType, NetworkOverride, PENDING,
    PmemOverride, ShareOverride, SnapshotCreate, SnapshotLoad, SnapshotLoadBody, SnapshotType,
    VsockOverride,
};

use crate::config::{
    Balloon, BalloonStatsUpdate, BalloonUpdate, BootSource, Console, ConsoleUpdate, CpuConfig,
    Drive, DriveUpdate, Entropy, HintingStart, Logger, MachineConfig, MachineUpdate, MemoryHotplug,
    MemoryHotplugUpdate, Metrics, MmdsConfig, NetworkInterface, NetworkUpdate, Pmem, PmemUpdate,
    Serial, Share, Vsock,
};
use crate::fault::Fault;

/// A request, named by its method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// GET /
    GetInstance,
    /// GET /version
    GetVersion,
    /// GET /vm/config
    GetVmConfig,
    /// PATCH /vm
    PatchVm(VmBody),
    /// PUT /actions
    PutAction(Action),
    /// PUT /boot-source
    PutBootSource(BootSource),
    /// GET /machine-config
    GetMachineConfig,
    /// PUT /machine-config
    PutMachineConfig(MachineConfig),
    /// PATCH /machine-config
    PatchMachineConfig(MachineUpdate),
    /// PUT /cpu-config
    PutCpuConfig(CpuConfig),
    /// PUT /drives/{drive_id}
    PutDrive(Box<Drive>),
    /// PATCH /drives/{drive_id}
    PatchDrive(DriveUpdate),
    /// DELETE /drives/{drive_id}
    DeleteDrive(String),
    /// PUT /pmem/{id}
    PutPmem(Box<Pmem>),
    /// PATCH /pmem/{id}
    PatchPmem(PmemUpdate),
    /// DELETE /pmem/{id}
    DeletePmem(String),
    /// PUT /network-interfaces/{iface_id}
    PutNetworkInterface(Box<NetworkInterface>),
    /// PATCH /network-interfaces/{iface_id}
    PatchNetworkInterface(Box<NetworkUpdate>),
    /// DELETE /network-interfaces/{iface_id}
    DeleteNetworkInterface(String),
    /// PUT /shares/{tag}
    PutShare(Share),
    /// DELETE /shares/{tag}
    DeleteShare(String),
    /// PUT /vsock
    PutVsock(Vsock),
    /// PUT /entropy
    PutEntropy(Entropy),
    /// PUT /serial
    PutSerial(Serial),
    /// PUT /console
    PutConsole(Console),
    /// PATCH /console
    PatchConsole(ConsoleUpdate),
    /// GET /balloon
    GetBalloon,
    /// PUT /balloon
    PutBalloon(Balloon),
    /// PATCH /balloon
    PatchBalloon(BalloonUpdate),
    /// GET /balloon/statistics
    GetBalloonStatistics,
    /// PATCH /balloon/statistics
    PatchBalloonStatistics(BalloonStatsUpdate),
    /// PATCH /balloon/hinting/start
    StartHinting(HintingStart),
    /// GET /balloon/hinting/status
    GetHintingStatus,
    /// PATCH /balloon/hinting/stop
    StopHinting,
    /// GET /hotplug/memory
    GetMemoryHotplug,
    /// PUT /hotplug/memory
    PutMemoryHotplug(MemoryHotplug),
    /// PATCH /hotplug/memory
    PatchMemoryHotplug(MemoryHotplugUpdate),
    /// GET /mmds
    GetMmds,
    /// PUT /mmds: an object
    PutMmds(Value),
    /// PATCH /mmds: an object, as a JSON merge patch (RFC 7396)
    PatchMmds(Value),
    /// PUT /mmds/config
    PutMmdsConfig(MmdsConfig),
    /// PUT /logger
    PutLogger(Logger),
    /// GET /metrics
    GetMetrics,
    /// PUT /metrics
    PutMetrics(Metrics),
    /// PUT /snapshot/create
    CreateSnapshot(SnapshotCreate),
    /// PUT /snapshot/load
    LoadSnapshot(Box<SnapshotLoad>),
}

impl Request {
    /// Finds out what a request wants, and checks what it says. An empty body is none.
    ///
    /// # Errors
    /// With the status and, where a client could depend on it, the words of Firecracker.
    pub fn parse(method: Method, path: &str, body: &[u8]) -> Result<Parsed, Fault> {
        route::parse(method, path, body)
    }
}
