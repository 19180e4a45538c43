//! What is shown of a sample.

use bollard::models::{ContainerBlkioStatEntry, ContainerStatsResponse as Sample};
use serde_json::json;

use crate::format::{Row, units};

/// What a container uses, or nothing yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// As it was asked for.
    pub(super) container: String,
    id: String,
    name: String,
    used: Option<Used>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Used {
    /// In hundredths of one processor.
    cpu: f64,
    memory: u64,
    limit: u64,
    received: u64,
    sent: u64,
    read: u64,
    written: u64,
    processes: u64,
}

impl Figures {
    /// A container of which nothing is known yet.
    pub(super) fn unknown(container: &str) -> Self {
        Self {
            container: container.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn of(container: &str, sample: &Sample) -> Self {
        let name = sample.name.as_deref().unwrap_or_default();
        let mut used = Used {
            cpu: cpu(sample),
            ..Used::default()
        };
        if let Some(memory) = &sample.memory_stats {
            let usage = memory.usage.unwrap_or(0);
            // What is only there to be given back when somebody needs it.
            let cache = memory.stats.as_ref().and_then(|stats| {
                stats
                    .get("total_inactive_file")
                    .or_else(|| stats.get("inactive_file"))
            });
            used.memory = usage.saturating_sub(cache.copied().unwrap_or(0));
            used.limit = memory.limit.unwrap_or(0);
        }
        for network in sample.networks.iter().flat_map(|all| all.values()) {
            used.received += network.rx_bytes.unwrap_or(0);
            used.sent += network.tx_bytes.unwrap_or(0);
        }
        let blocks = sample.blkio_stats.as_ref();
        let blocks = blocks.and_then(|blocks| blocks.io_service_bytes_recursive.as_deref());
        used.read = sum(blocks.unwrap_or_default(), "read");
        used.written = sum(blocks.unwrap_or_default(), "write");
        let processes = sample.pids_stats.as_ref().and_then(|pids| pids.current);
        used.processes = processes.unwrap_or(0);
        Self {
            container: container.to_owned(),
            id: sample.id.clone().unwrap_or_default(),
            name: name.strip_prefix('/').unwrap_or(name).to_owned(),
            used: Some(used),
        }
    }

    /// The fields of Docker's, in its words.
    pub(super) fn row(&self, shortens: bool) -> Row {
        let id = match self.id.is_empty() {
            true => &self.container,
            false => &self.id,
        };
        let id = id.get(..12).filter(|_| shortens).unwrap_or(id);
        let name = match self.name.is_empty() {
            true => "--",
            false => &self.name,
        };
        let pair = |first: String, second: String| format!("{first} / {second}");
        let none = || ("--".to_owned(), "-- / --".to_owned());
        let used = self.used;
        let or_none = |text: Option<String>| text.unwrap_or_else(|| none().0);
        let or_nones = |text: Option<String>| text.unwrap_or_else(|| none().1);
        Row::new(json!({
            "BlockIO": or_nones(used.map(|used| pair(units::size(used.read), units::size(used.written)))),
            "CPUPerc": or_none(used.map(|used| format!("{:.2}%", used.cpu))),
            "Container": self.container,
            "ID": id,
            "MemPerc": or_none(used.map(|used| format!("{:.2}%", share(used.memory, used.limit)))),
            "MemUsage": or_nones(used.map(|used| pair(units::memory(used.memory), units::memory(used.limit)))),
            "Name": name,
            "NetIO": or_nones(used.map(|used| pair(units::size(used.received), units::size(used.sent)))),
            "PIDs": or_none(used.map(|used| used.processes.to_string())),
        }))
    }
}

/// How much of one processor it had between two samples.
fn cpu(sample: &Sample) -> f64 {
    let (Some(now), Some(before)) = (&sample.cpu_stats, &sample.precpu_stats) else {
        return 0.0;
    };
    let total = |stats: &bollard::models::ContainerCpuStats| {
        stats.cpu_usage.as_ref().and_then(|usage| usage.total_usage)
    };
    let (Some(own), Some(system)) = (
        total(now).zip(total(before)),
        now.system_cpu_usage.zip(before.system_cpu_usage),
    ) else {
        return 0.0;
    };
    let own = own.0.saturating_sub(own.1);
    let system = system.0.saturating_sub(system.1);
    share(own, system) * f64::from(now.online_cpus.unwrap_or(1))
}

/// Hundredths.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64 * 100.0,
    }
}

fn sum(entries: &[ContainerBlkioStatEntry], operation: &str) -> u64 {
    let is_meant = |entry: &&ContainerBlkioStatEntry| {
        let name = entry.op.as_deref().unwrap_or_default();
        name.eq_ignore_ascii_case(operation)
    };
    let values = entries.iter().filter(is_meant);
    values.filter_map(|entry| entry.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_in_docker_s_words() {
        let sample: Sample = serde_json::from_value(json!({
            "id": "0123456789abcdef", "name": "/web",
            "cpu_stats": { "cpu_usage": { "total_usage": 300 }, "system_cpu_usage": 2000, "online_cpus": 2 },
            "precpu_stats": { "cpu_usage": { "total_usage": 200 }, "system_cpu_usage": 1000 },
            "memory_stats": { "usage": 3 << 20, "limit": 8 << 20, "stats": { "inactive_file": 1 << 20 } },
            "networks": { "eth0": { "rx_bytes": 1000, "tx_bytes": 1 }, "eth1": { "rx_bytes": 500 } },
            "blkio_stats": { "io_service_bytes_recursive": [{ "op": "read", "value": 4096 }, { "op": "Write", "value": 8192 }] },
            "pids_stats": { "current": 3 },
        }))
        .unwrap();
        let list = crate::format::List::new(&super::super::COLUMNS, Some("{{.ID}} {{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.BlockIO}} {{.PIDs}}"), false).unwrap();
        assert_eq!(
            list.render([&Figures::of("web", &sample).row(true)])
                .unwrap(),
            "0123456789ab web 20.00% 2MiB / 8MiB 25.00% 1.5kB / 1B 4.1kB / 8.19kB 3\n"
        );
        assert_eq!(
            list.render([&Figures::unknown("web").row(true)]).unwrap(),
            "web -- -- -- / -- -- -- / -- -- / -- --\n"
        );
    }
}
