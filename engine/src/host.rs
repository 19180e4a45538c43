//! What this host can give to a microVM: CPUs, memory, and how its KVM runs a guest's kernel.

use std::fs;
use std::path::PathBuf;

use hull_vm_api::HostProfile;
use thiserror::Error;

/// Something about the host that was not found out.
#[derive(Debug, Error)]
pub enum HostError {
    /// The probe failed; its words say why.
    #[error("{0}")]
    Probe(String),
    /// The probe cannot be run.
    #[error("{program} cannot be run to probe this host's KVM")]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How a guest's kernel has to be started on this host, and how it will run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestKernel {
    /// Its command line.
    pub(crate) arguments: String,
    /// Whether it runs on the processor itself rather than in an emulator.
    pub(crate) fast: bool,
}

/// What our kernel is told wherever it runs: a reboot and a panic end the machine, nothing that the
/// VMM knows is measured or searched for, free memory is reported in pieces of 32 KiB, since what a program leaves behind seldom is 2 MiB
/// in one piece, and nobody reads what it says.
const ARGUMENTS: &str = "reboot=k panic=-1 acpi=off pci=off tsc=reliable no_timer_check page_reporting.page_reporting_order=3 quiet";

impl GuestKernel {
    /// What the probe found out about this host's KVM.
    pub(crate) fn of(profile: &HostProfile) -> Self {
        let host = profile.kernel_args();
        let arguments = format!("{host} {ARGUMENTS}").trim().to_owned();
        Self {
            arguments,
            fast: !profile.interpreted(),
        }
    }
}

/// What the host can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// CPUs that this process may use.
    pub(crate) cpus: u32,
    /// Memory in MiB, used or free.
    pub(crate) memory_mib: u64,
    /// Whether guest kernel code runs on the processor itself rather than in an emulator.
    pub(crate) fast: bool,
}

impl Capacity {
    /// Asks the operating system; `fast` comes from the probe.
    pub(crate) fn measure(fast: bool) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
        let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            memory_mib: total_memory(&info).unwrap_or(512),
            fast,
        }
    }
}

/// The total of `/proc/meminfo`, in MiB.
fn total_memory(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_the_total_in_mebibytes() {
        let info = "MemFree:  1 kB\nMemTotal:       24613472 kB\nMemAvailable: 2 kB\n";
        assert_eq!(total_memory(info), Some(24036));
        assert_eq!(total_memory("MemTotal: much"), None);
    }
}
