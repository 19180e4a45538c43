//! What a microVM takes of the host, as `/proc` has its processes.

use std::fs;
use std::io;

use crate::container::HostProcess;

/// `USER_HZ` of Linux on x86-64: ticks of processor time in a second (`proc_pid_stat(5)`).
const TICKS: u64 = 100;
/// Bytes of a page.
const PAGE: u64 = 4096;

/// What one microVM takes of the host, of all its processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmStats {
    /// Processor time of all its threads, in milliseconds.
    pub cpu_ms: u64,
    /// Memory of the host that it has, in bytes: its share, where pages are shared.
    pub memory: u64,
    /// Memory that is its own alone, in bytes: what it has written.
    pub own: u64,
    /// Memory in bytes that others may have, too: pages of its template and of its program.
    pub shared: u64,
    /// Threads: a few, and one for each vCPU.
    pub threads: u64,
}

impl VmStats {
    /// Reads what `process` and its children take; `None` if it is gone.
    pub(crate) fn of(process: HostProcess) -> io::Result<Option<Self>> {
        let pid = process.pid;
        let (keeper, children) = match (read(pid), children(pid)) {
            (Ok(keeper), Ok(children)) => (keeper, children),
            (Err(error), _) | (_, Err(error)) => {
                return match HostProcess::of(pid) == Some(process) {
                    true => Err(error),
                    false => Ok(None),
                };
            }
        };
        // A child that is gone takes nothing.
        let children = children.into_iter().filter_map(|child| read(child).ok()?);
        let all = keeper.map(|keeper| children.fold(keeper, Self::and));
        // Asked afterwards: the number was not given to another process meanwhile.
        if HostProcess::of(pid) != Some(process) {
            return Ok(None);
        }
        Ok(all)
    }

    fn and(self, other: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.saturating_add(other.cpu_ms),
            memory: self.memory.saturating_add(other.memory),
            own: self.own.saturating_add(other.own),
            shared: self.shared.saturating_add(other.shared),
            threads: self.threads.saturating_add(other.threads),
        }
    }
}

/// The processes that a process made by its first thread.
fn children(pid: i32) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let numbers = text.split_ascii_whitespace();
    Ok(numbers.filter_map(|number| number.parse().ok()).collect())
}

/// What one process takes.
fn read(pid: i32) -> io::Result<Option<VmStats>> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
    let (stat, pages) = (read("stat")?, read("statm")?);
    let share = match read("smaps_rollup") {
        // The machine's process lets only root look at its memory. Its size is no secret.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        rollup => share(&rollup?),
    };
    Ok(parse(&stat, &pages, share))
}

/// The share of a process in all memory that it has, in bytes (`/proc/PID/smaps_rollup`).
fn share(memory: &str) -> Option<u64> {
    let pss = memory.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = pss.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// What a process has of its own, and what is of files or shared, in bytes (`/proc/PID/statm`): a template is a file, and what a clone
/// writes to it is a page of its own.
fn own_and_shared(pages: &str) -> Option<(u64, u64)> {
    let mut fields = pages.split_ascii_whitespace().skip(1);
    let mut bytes = || fields.next()?.parse::<u64>().ok()?.checked_mul(PAGE);
    let (resident, shared) = (bytes()?, bytes()?);
    Some((resident.saturating_sub(shared), shared))
}

fn parse(stat: &str, pages: &str, share: Option<u64>) -> Option<VmStats> {
    // The second field is the program's name in brackets and may hold anything; the third one is the first here.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let (own, shared) = own_and_shared(pages)?;
    Some(VmStats {
        cpu_ms: field(14)?
            .checked_add(field(15)?)?
            .checked_mul(1000 / TICKS)?,
        memory: share.unwrap_or(own.saturating_add(shared)),
        own,
        shared,
        threads: field(20)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_lives_has_figures_and_one_that_is_gone_has_none() {
        let this = HostProcess::this().unwrap();
        let stats = VmStats::of(this).unwrap().unwrap();
        assert!(stats.memory > 100 << 10 && stats.threads >= 1, "{stats:?}");
        let earlier = HostProcess {
            start_time: this.start_time - 1,
            ..this
        };
        assert_eq!(VmStats::of(earlier).unwrap(), None);
    }

    #[test]
    fn odd_names_of_programs_confuse_nothing() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 0 0 0 0 0 12 30 0 0 20 0 5 0 99 0 0";
        let memory = share("x\nPss:     20 kB\n");
        let stats = parse(stat, "100 5 1 0 0 0 0", memory).unwrap();
        let expected = VmStats {
            cpu_ms: 420,
            memory: 20 << 10,
            own: 4 * PAGE,
            shared: PAGE,
            threads: 5,
        };
        assert_eq!(stats, expected);
        assert_eq!(parse(stat, "100 5 1", None).unwrap().memory, 5 * PAGE);
        assert_eq!(parse("7 (a) S", "100 5 1", None), None);
        assert_eq!(parse(stat, "100", None), None);
    }
}
