//! Processes of the host, from `/proc` (proc_pid_stat(5)): the daemon itself under the names that all of Prometheus's clients use.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};

/// Clock ticks of a second, as user programs see them on every x86-64 Linux.
const USER_HZ: f64 = 100.0;
const PAGE: u64 = 4096;

/// What a process has used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    /// Bytes of memory.
    pub(super) resident: u64,
    pub(super) virtual_memory: u64,
    pub(super) threads: u64,
}

impl Usage {
    /// Of the process that has this number, or of `self`; nothing when it is gone.
    pub(super) fn of(process: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in brackets and may hold anything; the first after it is number 3.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = u32::try_from(field(14)?.checked_add(field(15)?)?).ok()?;
        Some(Self {
            cpu_seconds: f64::from(ticks) / USER_HZ,
            resident: field(24)?.saturating_mul(PAGE),
            virtual_memory: field(23)?,
            threads: field(20)?,
        })
    }
}

/// The daemon.
#[derive(Debug)]
pub(super) struct Own;

impl Collector for Own {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)
        };
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The one that reads is open, too.
            let open = u64::try_from(open.count().saturating_sub(1)).unwrap_or(u64::MAX);
            gauge("process_open_fds", "Open file descriptors", open)?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            gauge("process_max_fds", "How many may be open", most)?;
        }
        let Some(usage) = Usage::of("self") else {
            return Ok(());
        };
        let help = "Memory that is in use";
        gauge("process_resident_memory_bytes", help, usage.resident)?;
        let help = "Memory that is mapped";
        gauge("process_virtual_memory_bytes", help, usage.virtual_memory)?;
        gauge("process_threads", "Threads", usage.threads)?;
        let counter = ConstCounter::new(usage.cpu_seconds);
        let help = "Processor time that was used";
        let kind = counter.metric_type();
        let metric = encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?;
        counter.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_program_is_called() {
        let rest = "S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 7 0 99 4096000 25 18446744073709551615";
        let usage = Usage::parse(&format!("12 (a) R 5) {rest}")).unwrap();
        assert!((usage.cpu_seconds - 2.0).abs() < 1e-9);
        assert_eq!(usage.resident, 25 * PAGE);
        assert_eq!((usage.virtual_memory, usage.threads), (4_096_000, 7));
        assert_eq!(Usage::parse("12 (a) S 1 1"), None);
        assert!(Usage::of("self").unwrap().resident > 0);
    }
}
