//! `GET /containers/{id}/stats`: what a container uses, as its guest counts it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use hull_engine::inquiry::{DiskStats, Inquiry, InterfaceStats, Stats};
use hull_engine::supervisor::{Container, Guest};
use hull_engine::{Error, Status};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::error::ApiError;
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);

/// Samples of one container, each with the one before.
struct Samples {
    container: Arc<Container>,
    asked: Option<(Guest, Inquiry)>,
    /// The last sample, and when it was taken.
    last: Option<(Stats, Timestamp)>,
}

pub(crate) async fn stats(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let (stream, one_shot) = (params.flag_or("stream", true), params.flag("one-shot"));
    if stream && one_shot {
        return Err(ApiError::invalid(
            "cannot have stream=true and one-shot=true",
        ));
    }
    let mut samples = Samples {
        container,
        asked: None,
        last: None,
    };
    if !stream {
        if !one_shot && samples.runs() {
            samples.next().await?;
            sleep(PERIOD).await;
        }
        return Ok(lines::value(&samples.next().await?));
    }
    let samples = unfold(Some((samples, true)), |samples| async move {
        let (mut samples, is_first) = samples?;
        if !is_first {
            sleep(PERIOD).await;
        }
        if samples.container.is_removed() {
            return None;
        }
        match samples.next().await {
            Ok(value) => {
                let line = Bytes::from(format!("{value}\n"));
                Some((Ok::<_, std::io::Error>(line), Some((samples, false))))
            }
            Err(error) => Some((Err(std::io::Error::other(error.message)), None)),
        }
    });
    Ok(lines::json(Body::from_stream(samples)))
}

impl Samples {
    fn runs(&self) -> bool {
        self.container.state().status == Status::Running
    }

    /// The next sample as Docker has it. Of one that does not run there is only its name; one that is paused uses what it did last.
    async fn next(&mut self) -> Result<Value, ApiError> {
        let before = self.last.take();
        match self.container.state().status {
            Status::Running => {}
            Status::Paused if before.is_some() => {
                self.last = before;
                return Ok(self.shown(self.last.as_ref()));
            }
            _ => {
                self.asked = None;
                return Ok(json!({ "name": self.name(), "id": self.container.id().as_str() }));
            }
        }
        let stats = match self.ask().await {
            Ok(stats) => stats,
            // It has ended meanwhile.
            Err(_) if !self.runs() => {
                self.asked = None;
                return Ok(json!({ "name": self.name(), "id": self.container.id().as_str() }));
            }
            Err(error) => return Err(error.into()),
        };
        self.last = Some((stats, Timestamp::now()));
        Ok(self.shown(before.as_ref()))
    }

    async fn ask(&mut self) -> Result<Stats, Error> {
        if let Some((_, inquiry)) = &mut self.asked
            && let Ok(stats) = inquiry.stats().await
        {
            return Ok(stats);
        }
        // It may have been started again.
        let asked = self.asked.insert(self.container.guest().await?);
        Ok(asked.1.stats().await?)
    }

    fn name(&self) -> String {
        format!("/{}", self.container.name())
    }

    fn shown(&self, before: Option<&(Stats, Timestamp)>) -> Value {
        let Some((now, at)) = &self.last else {
            return Value::Null;
        };
        let never = || "0001-01-01T00:00:00Z".to_owned();
        let mut shown = json!({
            "name": self.name(),
            "id": self.container.id().as_str(),
            "read": at.to_string(),
            "preread": before.map_or_else(never, |(_, at)| at.to_string()),
            "num_procs": 0,
            "storage_stats": {},
            "pids_stats": pids(now),
            "cpu_stats": cpu(now),
            "precpu_stats": before.map_or_else(no_cpu, |(before, _)| cpu(before)),
            "memory_stats": memory(now),
            "blkio_stats": blkio(&now.disks),
        });
        if !now.interfaces.is_empty() {
            let one = |interface: &InterfaceStats| (interface.name.clone(), network(interface));
            let networks: Map<String, Value> = now.interfaces.iter().map(one).collect();
            shown["networks"] = Value::Object(networks);
        }
        shown
    }
}

fn pids(stats: &Stats) -> Value {
    let mut shown = json!({ "current": stats.pids });
    if let Some(limit) = stats.pids_max {
        shown["limit"] = json!(limit);
    }
    shown
}

fn cpu(stats: &Stats) -> Value {
    let cpu = &stats.cpu;
    let nanos = |us: u64| us.saturating_mul(1000);
    json!({
        "cpu_usage": {
            "total_usage": nanos(cpu.usage_us),
            "usage_in_kernelmode": nanos(cpu.system_us),
            "usage_in_usermode": nanos(cpu.user_us),
        },
        // All the time that the machine's CPUs had, which is what a share is of.
        "system_cpu_usage": nanos(stats.at_us).saturating_mul(u64::from(cpu.online)),
        "online_cpus": cpu.online,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": nanos(cpu.throttled_us),
        },
    })
}

fn no_cpu() -> Value {
    json!({
        "cpu_usage": { "total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0 },
        "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
    })
}

fn memory(stats: &Stats) -> Value {
    let memory = &stats.memory;
    let detail = memory.detail.iter();
    let detail: Map<String, Value> = detail
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "usage": memory.current,
        "max_usage": memory.peak,
        "failcnt": memory.max_events,
        // Without a limit of its own it can have all that its machine has.
        "limit": memory.max.map_or(memory.machine, |max| max.min(memory.machine)),
        "stats": detail,
    })
}

fn blkio(disks: &[DiskStats]) -> Value {
    let list = |read: fn(&DiskStats) -> u64, write: fn(&DiskStats) -> u64| -> Value {
        let entry = |disk: &DiskStats, op: &str, value: u64| json!({ "major": disk.major, "minor": disk.minor, "op": op, "value": value });
        let both = disks.iter().flat_map(|disk| {
            [
                entry(disk, "read", read(disk)),
                entry(disk, "write", write(disk)),
            ]
        });
        both.collect()
    };
    json!({
        "io_service_bytes_recursive": list(|disk| disk.read_bytes, |disk| disk.written_bytes),
        "io_serviced_recursive": list(|disk| disk.reads, |disk| disk.writes),
        "io_queue_recursive": null,
        "io_service_time_recursive": null,
        "io_wait_time_recursive": null,
        "io_merged_recursive": null,
        "io_time_recursive": null,
        "sectors_recursive": null,
    })
}

fn network(interface: &InterfaceStats) -> Value {
    let (received, sent) = (&interface.received, &interface.sent);
    json!({
        "rx_bytes": received.bytes, "rx_packets": received.packets, "rx_errors": received.errors,
        "rx_dropped": received.dropped, "tx_bytes": sent.bytes, "tx_packets": sent.packets,
        "tx_errors": sent.errors, "tx_dropped": sent.dropped,
    })
}

#[cfg(test)]
mod tests {
    use hull_engine::inquiry::{CpuStats, MemoryStats};

    use super::*;

    #[test]
    fn a_share_of_the_processors_is_what_docker_computes_of_it() {
        let at = |at_us, usage_us| Stats {
            at_us,
            cpu: CpuStats {
                usage_us,
                online: 2,
                ..CpuStats::default()
            },
            ..Stats::default()
        };
        let (before, now) = (cpu(&at(1_000_000, 100)), cpu(&at(2_000_000, 500_100)));
        let of = |value: &Value, path: &str| value.pointer(path).unwrap().as_u64().unwrap();
        let used = of(&now, "/cpu_usage/total_usage") - of(&before, "/cpu_usage/total_usage");
        let all = of(&now, "/system_cpu_usage") - of(&before, "/system_cpu_usage");
        // Half of one CPU: docker shows used / all * CPUs.
        assert_eq!(used * 2 * 100 / all, 50);
    }

    #[test]
    fn the_limit_of_memory_is_never_more_than_there_is() {
        let of = |max| Stats {
            memory: MemoryStats {
                max,
                machine: 100,
                detail: vec![("inactive_file".to_owned(), 7)],
                ..MemoryStats::default()
            },
            ..Stats::default()
        };
        assert_eq!(memory(&of(None))["limit"], 100);
        assert_eq!(memory(&of(Some(50)))["limit"], 50);
        assert_eq!(memory(&of(Some(500)))["limit"], 100);
        assert_eq!(memory(&of(None))["stats"]["inactive_file"], 7);
    }
}
