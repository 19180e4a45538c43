//! All microVMs that run below a root directory, containers' and plain ones, with what they cost the host.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Supervisor;
use super::container::Container;
use crate::container::{HostProcess, Status};
use crate::network::EndpointId;
use crate::prepare::Sockets;
use crate::vm::plain::{Listed, MicroVms, VmNet, VmStatus};
use crate::vm::{Said, VmStats, VmTraffic};

/// How long a guest may take to say how many processes it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a microVM is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    /// A container.
    Container,
    /// Itself.
    Vm,
}

/// A microVM that runs.
#[derive(Clone, Debug)]
pub struct RunningMachine {
    /// What it is there for.
    pub kind: MachineKind,
    /// A container's identifier; a plain microVM's name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// A container's image, as it was asked for.
    pub image: Option<String>,
    /// Whether its vCPUs stand still.
    pub paused: bool,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// What a container may have of its memory, in bytes, if that is less.
    memory_limit: Option<u64>,
    process: HostProcess,
    api: PathBuf,
    container: Option<Arc<Container>>,
}

/// What a microVM costs the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineUsage {
    /// Of its processes.
    pub stats: VmStats,
    /// Through its devices; `None` where its VMM has no time to say.
    pub traffic: Option<VmTraffic>,
    /// The most memory that it can use, in bytes, if that is known.
    pub memory_limit: Option<u64>,
    /// Its vCPUs, if that is known.
    pub cpus: Option<u32>,
}

impl Supervisor {
    /// The microVMs that run now, by their names. Blocking.
    #[must_use]
    pub fn machines(&self) -> Vec<RunningMachine> {
        let containers = self.list().into_iter();
        let mut all: Vec<_> = containers.filter_map(RunningMachine::of).collect();
        all.extend(self.plain());
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The plain microVM that is in a network by this endpoint. Blocking.
    #[must_use]
    pub fn microvm_at(&self, endpoint: &EndpointId) -> Option<String> {
        let vms = MicroVms::at(self.paths.clone());
        let is_it = |net: &VmNet| net.endpoint.as_ref() == Some(endpoint);
        let mut listed = plain(&vms).into_iter();
        let found = listed.find(|one| one.state.networks.iter().any(is_it))?;
        Some(found.record.name.to_string())
    }

    fn plain(&self) -> Vec<RunningMachine> {
        let vms = MicroVms::at(self.paths.clone());
        let running = plain(&vms).into_iter().filter_map(|one| {
            let process = one.state.vmm?;
            let runs = one.state.status == VmStatus::Running;
            runs.then(|| RunningMachine {
                kind: MachineKind::Vm,
                id: one.record.name.to_string(),
                name: one.record.name.to_string(),
                image: None,
                paused: vms.is_paused(&one),
                started: one.state.started,
                memory_limit: None,
                process,
                api: vms.api_socket(&one.record.name),
                container: None,
            })
        });
        running.collect()
    }
}

fn plain(vms: &MicroVms) -> Vec<Listed> {
    vms.list().unwrap_or_else(|error| {
        tracing::warn!(%error, "plain microVMs cannot be listed");
        Vec::new()
    })
}

impl RunningMachine {
    fn of(container: Arc<Container>) -> Option<Self> {
        let state = container.state();
        if !matches!(state.status, Status::Running | Status::Paused) {
            return None;
        }
        let config = container.config();
        Some(Self {
            kind: MachineKind::Container,
            id: container.id().to_string(),
            name: container.name(),
            image: Some(config.image),
            paused: state.status == Status::Paused,
            started: state.started,
            memory_limit: config.memory.filter(|bytes| *bytes != 0),
            process: state.vmm?,
            api: Sockets::below(&container.runtime()).api,
            container: Some(container),
        })
    }

    /// What it costs the host now; `None` if it is gone. The guest notices nothing. Blocking.
    #[must_use]
    pub fn usage(&self) -> Option<MachineUsage> {
        let stats = VmStats::of(self.process).ok()??;
        let said = Said::by(&self.api);
        let machine = said.map(|said| said.memory);
        Some(MachineUsage {
            stats,
            traffic: said.map(|said| said.traffic),
            memory_limit: match (self.memory_limit, machine) {
                (Some(limit), Some(machine)) => Some(limit.min(machine)),
                (limit, machine) => limit.or(machine),
            },
            cpus: said.map(|said| said.cpus),
        })
    }

    /// How many processes and threads a container has, as its guest says; `None` if it does not, or is none.
    pub async fn processes(&self) -> Option<u64> {
        let container = self.container.as_ref().filter(|_| !self.paused)?;
        let asked = async {
            // One that has ended meanwhile is not started for this.
            if container.state().status != Status::Running {
                return None;
            }
            let (_, mut inquiry) = container.guest().await.ok()?;
            Some(inquiry.stats().await.ok()?.pids)
        };
        tokio::time::timeout(PATIENCE, asked).await.ok()?
    }
}
