//! What went through a microVM's devices, as its VMM counts it (`api/vm/METRICS.md`): the guest is not asked.

use std::path::Path;
use std::time::Duration;

use hull_vm_api::Client;
use hull_vm_api::client::ClientError;

/// How long a VMM may take to answer. One that is being saved has other things to do.
const ANSWER: Duration = Duration::from_millis(500);

/// Bytes since the start of a microVM, of all its devices of a kind together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmTraffic {
    /// What its guest read from disks.
    pub disk_read: u64,
    /// What it wrote to them.
    pub disk_written: u64,
    /// What came to it from networks.
    pub received: u64,
    /// What it sent to them.
    pub sent: u64,
}

/// What a VMM says of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) traffic: VmTraffic,
    /// Memory of the machine in bytes.
    pub(crate) memory: u64,
    /// Its vCPUs.
    pub(crate) cpus: u32,
}

impl Said {
    /// Asks the VMM whose API is at `socket`. Blocking, for half a second at most; `None` if it does not answer.
    pub(crate) fn by(socket: &Path) -> Option<Self> {
        let client = Client::new(socket).with_time(ANSWER);
        let asked = || {
            let machine = client.machine_config()?;
            let traffic = VmTraffic::parse(&client.metrics()?);
            Ok::<_, ClientError>(Self {
                traffic,
                memory: machine.mem_size_mib.saturating_mul(1 << 20),
                cpus: machine.vcpu_count.into(),
            })
        };
        asked()
            .inspect_err(|error| {
                tracing::debug!(%error, socket = %socket.display(), "a VMM does not say what it counts");
            })
            .ok()
    }
}

impl VmTraffic {
    /// Reads Prometheus' text.
    fn parse(text: &str) -> Self {
        let mut traffic = Self::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once('{') else {
                continue;
            };
            let sum = match name {
                "hull_block_read_bytes_total" => &mut traffic.disk_read,
                "hull_block_write_bytes_total" => &mut traffic.disk_written,
                "hull_net_rx_bytes_count_total" => &mut traffic.received,
                "hull_net_tx_bytes_count_total" => &mut traffic.sent,
                _ => continue,
            };
            // Labels may hold anything but come before the number.
            let value = rest.rsplit(' ').next().and_then(|value| value.parse().ok());
            *sum = sum.saturating_add(value.unwrap_or(0));
        }
        traffic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_kind_are_added_up() {
        let text = "# TYPE hull_block_read_bytes_total counter\n\
            hull_block_read_bytes_total{vm=\"a\",id=\"image\"} 100\n\
            hull_block_read_bytes_total{vm=\"a b} 9\",id=\"disk\"} 20\n\
            hull_block_write_bytes_total{vm=\"a\",id=\"disk\"} 3\n\
            hull_block_read_count_total{vm=\"a\",id=\"disk\"} 77\n\
            hull_net_rx_bytes_count_total{vm=\"a\",id=\"eth0\"} 4\n\
            hull_net_tx_bytes_count_total{vm=\"a\",id=\"eth0\"} nonsense\n\
            hull_timeline_ms{vm=\"a\",stage=\"kvm_ready\"} 1.9\n";
        let expected = VmTraffic {
            disk_read: 120,
            disk_written: 3,
            received: 4,
            sent: 0,
        };
        assert_eq!(VmTraffic::parse(text), expected);
    }

    #[test]
    fn a_vmm_that_is_gone_says_nothing() {
        assert_eq!(Said::by(Path::new("/nowhere/api")), None);
    }
}
