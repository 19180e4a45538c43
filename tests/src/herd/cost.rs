//! What clones cost the host: processor time that is not their guests', and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Processor time, user and system, until all clones were there.
#[derive(Debug, Clone)]
pub struct Cost {
    /// Of this process, for all clones together.
    pub owner: Duration,
    /// Of each keeper.
    pub keepers: Vec<Duration>,
    /// Of each machine's process, but its vCPUs.
    pub machines: Vec<Duration>,
    /// Of the vCPUs of each: the guest, and KVM's work for it.
    pub guests: Vec<Duration>,
}

/// Memory in KiB. A page that several processes have counts for each of them in part (PSS).
#[derive(Debug, Clone)]
pub struct Memory {
    /// Of this process.
    pub owner: u64,
    /// Of each keeper.
    pub keepers: Vec<u64>,
    /// Of each machine's process, with the guest's memory.
    pub machines: Vec<u64>,
}

impl Cost {
    /// Adds up what the threads of each clone have had so far.
    pub(super) fn of(owner: Duration, vmms: &[u32]) -> Result<Self> {
        let mut cost = Self {
            owner,
            keepers: Vec::new(),
            machines: Vec::new(),
            guests: Vec::new(),
        };
        for vmm in vmms {
            let (keeper, _) = times(*vmm)?;
            let (machine, guest) = times(machine(*vmm)?)?;
            cost.keepers.push(keeper);
            cost.machines.push(machine);
            cost.guests.push(guest);
        }
        Ok(cost)
    }

    /// What Hull needs for one clone, on average.
    #[must_use]
    pub fn own(&self) -> Duration {
        let all = self.keepers.iter().chain(&self.machines).sum::<Duration>() + self.owner;
        let count = u32::try_from(self.keepers.len()).unwrap_or(u32::MAX);
        all / count.max(1)
    }
}

impl Memory {
    pub(super) fn of(vmms: impl Iterator<Item = u32>) -> Result<Self> {
        let mut memory = Self {
            owner: share(std::process::id())?,
            keepers: Vec::new(),
            machines: Vec::new(),
        };
        for vmm in vmms {
            memory.keepers.push(share(vmm)?);
            memory.machines.push(share(machine(vmm)?)?);
        }
        Ok(memory)
    }

    /// What both processes of a clone have, on average.
    #[must_use]
    pub fn each(&self) -> u64 {
        let all: u64 = self.keepers.iter().chain(&self.machines).sum();
        all / u64::try_from(self.keepers.len()).unwrap_or(u64::MAX).max(1)
    }
}

/// The processor time of this process.
pub(super) fn own_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime)
        .try_into()
        .unwrap_or_default()
}

/// The process that the keeper of a microVM keeps.
fn machine(keeper: u32) -> Result<u32> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"));
    let children = children.with_context(|| format!("{keeper} is gone"))?;
    let machine = children.split_whitespace().next();
    let machine = machine.with_context(|| format!("{keeper} keeps no machine"))?;
    Ok(machine.parse()?)
}

/// The processor time of the threads of a process: of those that are no vCPUs, and of vCPUs. To the nanosecond, where `stat` has
/// hundredths of a second.
fn times(pid: u32) -> Result<(Duration, Duration)> {
    let (mut own, mut vcpus) = (Duration::ZERO, Duration::ZERO);
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.path();
        let name = fs::read_to_string(thread.join("comm"))?;
        let path = thread.join("schedstat");
        let stat = fs::read_to_string(&path);
        let stat =
            stat.context("this host's kernel counts no processor time (CONFIG_SCHED_INFO)")?;
        let time = stat.split(' ').next().and_then(|time| time.parse().ok());
        let time = Duration::from_nanos(time.context("schedstat has other fields")?);
        match name.starts_with("vcpu") {
            true => vcpus += time,
            false => own += time,
        }
    }
    Ok((own, vcpus))
}

/// The proportional set size of a process in KiB.
fn share(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).context(path)?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(number.context("smaps_rollup has no Pss")?.trim().parse()?)
}
