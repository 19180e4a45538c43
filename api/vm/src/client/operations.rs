//! The operations, one method each. All fail with [`ClientError`], and where the VMM refuses, with its own words.

use serde_json::Value;

use super::{Client, ClientError};
use crate::config::{
    Balloon, BalloonStatsUpdate, BalloonUpdate, BootSource, Console, ConsoleUpdate, CpuConfig,
    Draft, Drive, DriveUpdate, Entropy, HintingStart, Logger, MachineConfig, MachineUpdate,
    MemoryHotplug, MemoryHotplugUpdate, Metrics, MmdsConfig, NetworkInterface, NetworkUpdate, Pmem,
    PmemUpdate, Serial, Share, Vsock,
};
use crate::reply::{BalloonStatistics, HintingStatus, InstanceInfo, MemoryHotplugStatus, Version};
use crate::request::{Action, ActionBody, Method, SnapshotCreate, SnapshotLoad, VmBody, VmState};

type Done = Result<(), ClientError>;

/// The machine as a whole.
impl Client {
    /// Which microVM this is, and what it does.
    pub fn instance(&self) -> Result<InstanceInfo, ClientError> {
        self.get("/")
    }

    /// Its versions.
    pub fn version(&self) -> Result<Version, ClientError> {
        self.get("/version")
    }

    /// Its configuration.
    pub fn config(&self) -> Result<Draft, ClientError> {
        self.get("/vm/config")
    }

    /// Starts it.
    pub fn start(&self) -> Done {
        self.action(Action::InstanceStart)
    }

    /// Lets its vCPUs stand still.
    pub fn pause(&self) -> Done {
        self.patch(
            "/vm",
            &VmBody {
                state: VmState::Paused,
                settle: false,
            },
        )
    }

    /// Lets its vCPUs run again.
    pub fn resume(&self) -> Done {
        self.patch(
            "/vm",
            &VmBody {
                state: VmState::Resumed,
                settle: false,
            },
        )
    }

    /// Lets its vCPUs stand still, and waits until nothing writes to its disks any more.
    pub fn pause_and_settle(&self) -> Done {
        self.patch(
            "/vm",
            &VmBody {
                state: VmState::Paused,
                settle: true,
            },
        )
    }

    /// Does something at once.
    pub fn action(&self, action_type: Action) -> Done {
        self.put("/actions", &ActionBody { action_type })
    }

    /// Writes a snapshot of it while it is paused.
    pub fn create_snapshot(&self, create: &SnapshotCreate) -> Done {
        self.put("/snapshot/create", create)
    }

    /// Makes it from a snapshot.
    pub fn load_snapshot(&self, load: &SnapshotLoad) -> Done {
        self.put("/snapshot/load", load)
    }

    /// Says what it boots.
    pub fn put_boot_source(&self, boot: &BootSource) -> Done {
        self.put("/boot-source", boot)
    }

    /// Its vCPUs and memory.
    pub fn machine_config(&self) -> Result<MachineConfig, ClientError> {
        self.get("/machine-config")
    }

    /// Says what vCPUs and memory it has.
    pub fn put_machine_config(&self, machine: &MachineConfig) -> Done {
        self.put("/machine-config", machine)
    }

    /// Changes some of its vCPUs' and memory's properties.
    pub fn patch_machine_config(&self, update: &MachineUpdate) -> Done {
        self.patch("/machine-config", update)
    }

    /// Says what its vCPUs look like.
    pub fn put_cpu_config(&self, cpu: &CpuConfig) -> Done {
        self.put("/cpu-config", cpu)
    }

    /// Says what the VMM logs, and where to.
    pub fn put_logger(&self, logger: &Logger) -> Done {
        self.put("/logger", logger)
    }

    /// What it counted since its start, as Prometheus' text.
    pub fn metrics(&self) -> Result<String, ClientError> {
        let body = self.call(Method::Get, "/metrics", &[])?;
        String::from_utf8(body)
            .map_err(|error| ClientError::Protocol(format!("its answer to GET /metrics: {error}")))
    }

    /// Says where the VMM's figures go.
    pub fn put_metrics(&self, metrics: &Metrics) -> Done {
        self.put("/metrics", metrics)
    }
}

/// Devices of which there can be several. They are put and deleted before the start.
impl Client {
    /// Puts a disk there, in place of one of the same id.
    pub fn put_drive(&self, drive: &Drive) -> Done {
        self.put(&format!("/drives/{}", drive.drive_id), drive)
    }

    /// Changes a disk of the running machine.
    pub fn patch_drive(&self, update: &DriveUpdate) -> Done {
        self.patch(&format!("/drives/{}", update.drive_id), update)
    }

    /// Takes a disk away.
    pub fn delete_drive(&self, drive_id: &str) -> Done {
        self.delete(&format!("/drives/{drive_id}"))
    }

    /// Puts a file there as memory, in place of one of the same id.
    pub fn put_pmem(&self, pmem: &Pmem) -> Done {
        self.put(&format!("/pmem/{}", pmem.id), pmem)
    }

    /// Changes a file of the running machine.
    pub fn patch_pmem(&self, update: &PmemUpdate) -> Done {
        self.patch(&format!("/pmem/{}", update.id), update)
    }

    /// Takes a file away.
    pub fn delete_pmem(&self, id: &str) -> Done {
        self.delete(&format!("/pmem/{id}"))
    }

    /// Puts a network interface there, in place of one of the same id.
    pub fn put_network_interface(&self, interface: &NetworkInterface) -> Done {
        let path = format!("/network-interfaces/{}", interface.iface_id);
        self.put(&path, interface)
    }

    /// Changes a network interface of the running machine.
    pub fn patch_network_interface(&self, update: &NetworkUpdate) -> Done {
        let path = format!("/network-interfaces/{}", update.iface_id);
        self.patch(&path, update)
    }

    /// Takes a network interface away.
    pub fn delete_network_interface(&self, iface_id: &str) -> Done {
        self.delete(&format!("/network-interfaces/{iface_id}"))
    }

    /// Puts a directory of the host there, in place of one of the same tag.
    pub fn put_share(&self, share: &Share) -> Done {
        self.put(&format!("/shares/{}", share.tag), share)
    }

    /// Takes a directory away.
    pub fn delete_share(&self, tag: &str) -> Done {
        self.delete(&format!("/shares/{tag}"))
    }
}

/// Devices of which there is one at most.
impl Client {
    /// Gives it sockets to the host.
    pub fn put_vsock(&self, vsock: &Vsock) -> Done {
        self.put("/vsock", vsock)
    }

    /// Gives it random numbers.
    pub fn put_entropy(&self, entropy: &Entropy) -> Done {
        self.put("/entropy", entropy)
    }

    /// Gives it a 16550.
    pub fn put_serial(&self, serial: &Serial) -> Done {
        self.put("/serial", serial)
    }

    /// Gives it a virtio console.
    pub fn put_console(&self, console: &Console) -> Done {
        self.put("/console", console)
    }

    /// Tells the running machine how large its terminal is.
    pub fn patch_console(&self, update: &ConsoleUpdate) -> Done {
        self.patch("/console", update)
    }

    /// Its balloon.
    pub fn balloon(&self) -> Result<Balloon, ClientError> {
        self.get("/balloon")
    }

    /// Gives it a balloon.
    pub fn put_balloon(&self, balloon: &Balloon) -> Done {
        self.put("/balloon", balloon)
    }

    /// Makes its balloon larger or smaller.
    pub fn patch_balloon(&self, update: &BalloonUpdate) -> Done {
        self.patch("/balloon", update)
    }

    /// What the guest last reported on its memory.
    pub fn balloon_statistics(&self) -> Result<BalloonStatistics, ClientError> {
        self.get("/balloon/statistics")
    }

    /// Changes how often the guest reports.
    pub fn patch_balloon_statistics(&self, update: &BalloonStatsUpdate) -> Done {
        self.patch("/balloon/statistics", update)
    }

    /// Asks the guest which pages are free.
    pub fn start_hinting(&self, start: &HintingStart) -> Done {
        self.patch("/balloon/hinting/start", start)
    }

    /// How far the guest is with that.
    pub fn hinting_status(&self) -> Result<HintingStatus, ClientError> {
        self.get("/balloon/hinting/status")
    }

    /// Lets the guest have its free pages back.
    pub fn stop_hinting(&self) -> Done {
        self.patch(
            "/balloon/hinting/stop",
            &Value::Object(serde_json::Map::new()),
        )
    }

    /// Memory that can be plugged in, and how much is.
    pub fn memory_hotplug(&self) -> Result<MemoryHotplugStatus, ClientError> {
        self.get("/hotplug/memory")
    }

    /// Gives it memory that can be plugged in.
    pub fn put_memory_hotplug(&self, hotplug: &MemoryHotplug) -> Done {
        self.put("/hotplug/memory", hotplug)
    }

    /// Plugs memory in, or pulls it out.
    pub fn patch_memory_hotplug(&self, update: &MemoryHotplugUpdate) -> Done {
        self.patch("/hotplug/memory", update)
    }

    /// Its metadata.
    pub fn mmds(&self) -> Result<Value, ClientError> {
        self.get("/mmds")
    }

    /// Replaces its metadata; an object.
    pub fn put_mmds(&self, metadata: &Value) -> Done {
        self.put("/mmds", metadata)
    }

    /// Changes its metadata by a JSON merge patch (RFC 7396); an object.
    pub fn patch_mmds(&self, patch: &Value) -> Done {
        self.patch("/mmds", patch)
    }

    /// Says how its guest reaches its metadata.
    pub fn put_mmds_config(&self, config: &MmdsConfig) -> Done {
        self.put("/mmds/config", config)
    }
}
