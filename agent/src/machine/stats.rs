//! What the container uses: its control group's figures, and those of the network.

use hull_agent_protocol::{CpuStats, DiskStats, MemoryStats, Stats};
use rustix::system::sysinfo;
use rustix::thread::sched_getaffinity;

use super::cgroup::Cgroup;
use crate::sys::time;

/// The most disks that are told of.
const MAX_DISKS: usize = 64;

/// Reads all of it.
pub(crate) fn read(group: &Cgroup) -> Stats {
    let machine = sysinfo();
    let unit = u64::from(machine.mem_unit.max(1));
    Stats {
        at_us: time::since_boot_us(),
        cpu: cpu(&group.read("cpu.stat")),
        memory: MemoryStats {
            current: single(&group.read("memory.current")).unwrap_or(0),
            peak: single(&group.read("memory.peak")).unwrap_or(0),
            max: single(&group.read("memory.max")),
            machine: machine.totalram.saturating_mul(unit),
            ..memory(&group.read("memory.stat"), &group.read("memory.events"))
        },
        pids: single(&group.read("pids.current")).unwrap_or(0),
        pids_max: single(&group.read("pids.max")),
        disks: disks(&group.read("io.stat")),
        // A kernel without a network has nothing to say of it.
        interfaces: crate::network::statistics().unwrap_or_default(),
    }
}

/// A file with one number; `None` for `max`.
fn single(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Lines of a name and a number.
fn flat(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name, value.trim().parse().ok()?))
    })
}

fn of(text: &str, name: &str) -> u64 {
    let found = flat(text).find(|(known, _)| *known == name);
    found.map_or(0, |(_, value)| value)
}

fn cpu(text: &str) -> CpuStats {
    CpuStats {
        usage_us: of(text, "usage_usec"),
        user_us: of(text, "user_usec"),
        system_us: of(text, "system_usec"),
        periods: of(text, "nr_periods"),
        throttled_periods: of(text, "nr_throttled"),
        throttled_us: of(text, "throttled_usec"),
        online: sched_getaffinity(None).map_or(1, |cpus| cpus.count()),
    }
}

fn memory(stat: &str, events: &str) -> MemoryStats {
    let detail = flat(stat).map(|(name, value)| (name.to_owned(), value));
    MemoryStats {
        max_events: of(events, "max"),
        oom_kills: of(events, "oom_kill"),
        detail: detail.take(MemoryStats::MAX_DETAIL).collect(),
        ..MemoryStats::default()
    }
}

/// Lines of a device and what goes through it: `254:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`.
fn disks(text: &str) -> Vec<DiskStats> {
    let disk = |line: &str| {
        let (device, figures) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let mut disk = DiskStats {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            ..DiskStats::default()
        };
        for figure in figures.split_whitespace() {
            let (name, value) = figure.split_once('=')?;
            let place = match name {
                "rbytes" => &mut disk.read_bytes,
                "wbytes" => &mut disk.written_bytes,
                "rios" => &mut disk.reads,
                "wios" => &mut disk.writes,
                _ => continue,
            };
            *place = value.parse().ok()?;
        }
        Some(disk)
    };
    text.lines().filter_map(disk).take(MAX_DISKS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_others() {
        let text = "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\n\
                    throttled_usec 2\nbroken\nworse x\n";
        let cpu = cpu(text);
        assert_eq!((cpu.usage_us, cpu.user_us, cpu.system_us), (30, 20, 10));
        assert_eq!(
            (cpu.periods, cpu.throttled_periods, cpu.throttled_us),
            (4, 3, 2)
        );
        assert!(cpu.online > 0);
        let memory = memory("anon 5\ninactive_file 6\n", "low 1\nmax 2\noom_kill 3\n");
        assert_eq!(
            (
                memory.of("anon"),
                memory.of("inactive_file"),
                memory.of("none")
            ),
            (5, 6, 0)
        );
        assert_eq!((memory.max_events, memory.oom_kills), (2, 3));
        assert_eq!((single("max\n"), single("7\n")), (None, Some(7)));
    }

    #[test]
    fn disks_are_told_apart() {
        let text =
            "254:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\nbad\n7:0 rbytes=x\n254:0 \n";
        let disk = DiskStats {
            major: 254,
            minor: 16,
            read_bytes: 1,
            written_bytes: 2,
            reads: 3,
            writes: 4,
        };
        let empty = DiskStats {
            major: 254,
            ..DiskStats::default()
        };
        assert_eq!(disks(text), [disk, empty]);
    }
}
