//! Containers as they are when somebody asks: how many in which state, and what their microVMs cost the host.

use std::fmt;
use std::sync::Arc;

use hull_engine::Status;
use hull_engine::supervisor::Supervisor;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::process::Usage;

/// All containers of a daemon.
#[derive(Debug)]
pub(super) struct Containers(pub(super) Arc<Supervisor>);

/// What is shown of one whose microVM runs.
struct Running {
    labels: [(&'static str, String); 2],
    usage: Usage,
}

const STATES: [&str; 6] = [
    "created",
    "running",
    "paused",
    "suspended",
    "restarting",
    "exited",
];

impl Collector for Containers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (mut states, mut running) = (Vec::new(), Vec::new());
        for container in self.0.list() {
            let state = container.state();
            states.push(match state.status {
                _ if container.is_restarting() => "restarting",
                Status::Created => "created",
                Status::Running => "running",
                Status::Paused => "paused",
                Status::Suspended => "suspended",
                Status::Exited => "exited",
            });
            if let Some(usage) = state.vmm.and_then(|vmm| Usage::of(&vmm.pid.to_string())) {
                let labels = [
                    ("id", container.id().as_str().to_owned()),
                    ("name", container.name()),
                ];
                running.push(Running { labels, usage });
            }
        }

        let help = "Containers, by what they do";
        let mut metric =
            encoder.encode_descriptor("hull_containers", help, None, MetricType::Gauge)?;
        for state in STATES {
            let count = states.iter().filter(|one| **one == state).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(metric.encode_family(&[("state", state)])?)?;
        }

        let help = "Processor time of a container's microVM, the guest's included";
        let name = "hull_container_cpu_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for one in &running {
            ConstCounter::new(one.usage.cpu_seconds).encode(metric.encode_family(&one.labels)?)?;
        }

        let help = "Memory of the host that a container's microVM has mapped, what it shares with others included";
        let name = "hull_container_resident_memory_bytes";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for one in &running {
            let bytes = i64::try_from(one.usage.resident).unwrap_or(i64::MAX);
            ConstGauge::new(bytes).encode(metric.encode_family(&one.labels)?)?;
        }
        Ok(())
    }
}
