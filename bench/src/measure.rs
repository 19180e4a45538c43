//! Time, CPU time and memory of one process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// How long a contestant may take for one sample. The slowest here, a boot on an emulated kernel, takes some twenty seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// Kills a process that takes too long, which whoever reads from it sees as its end.
#[derive(Debug)]
struct Watchdog {
    /// The thread ends when this is gone.
    _alive: Sender<()>,
}

impl Watchdog {
    fn over(child: &Child) -> Result<Self> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let (alive, gone) = channel::<()>();
        thread::spawn(move || {
            if gone.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("a contestant is killed: it was not done after {PATIENCE:?}");
                let _ = pidfd_send_signal(&process, Signal::KILL);
            }
        });
        Ok(Self { _alive: alive })
    }
}

/// What a process took from its start to its end, with those that it started and waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

/// Runs a process to its end.
pub(crate) fn to_the_end(command: &mut Command) -> Result<(Cost, ExitStatus)> {
    let start = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let _watchdog = Watchdog::over(&child)?;
    let (user, system, status) = reap(&child)?;
    let wall = start.elapsed();
    Ok((Cost { wall, user, system }, status))
}

/// A process that is killed when it is no longer needed.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    _watchdog: Watchdog,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {command:?}"))?;
        let watchdog = Watchdog::over(&child)?;
        Ok(Self {
            child,
            _watchdog: watchdog,
        })
    }

    /// Asks it to end at once, and waits until it has.
    pub(crate) fn interrupt(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let family = family(self.child.id()).unwrap_or_default();
        let open = |pid: &u32| {
            let pid = Pid::from_raw(i32::try_from(*pid).ok()?)?;
            pidfd_open(pid, PidfdFlags::empty()).ok()
        };
        let family: Vec<_> = family.iter().filter_map(open).collect();
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Those that it started end a moment later, and the next contestant wants their TAP.
        for process in family {
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], None);
        }
    }
}

/// The CPU time of a process's threads, and of those of the processes that it started, without the vCPUs: these execute the guest.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    /// Seconds.
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Threads {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut sum = Self::default();
        for pid in family(pid)? {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                let stat = fs::read_to_string(thread?.path().join("stat"))?;
                let (user, system) = times(&stat).context("a thread's stat has other fields")?;
                sum.user += user;
                sum.system += system;
            }
        }
        Ok(sum)
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }
}

/// The same sum to the nanosecond, as the scheduler has it, with what threads took that have ended.
pub(crate) fn run_time(pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for pid in family(pid)? {
        let mut guest = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.path();
            // It may end while one looks.
            let Ok(name) = fs::read_to_string(thread.join("comm")) else {
                continue;
            };
            if is_vcpu(&name) {
                let figures = fs::read_to_string(thread.join("schedstat"))?;
                let time = figures.split_whitespace().next();
                guest += time.context("schedstat is empty")?.parse::<u64>()?;
            }
        }
        sum += process_time(pid)?.saturating_sub(Duration::from_nanos(guest));
    }
    Ok(sum)
}

/// What all threads of a process took, also those that have ended.
#[allow(unsafe_code)]
fn process_time(pid: u32) -> Result<Duration> {
    let pid = i32::try_from(pid)?;
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both pointers are to live variables of the types that these functions fill.
    unsafe {
        let error = libc::clock_getcpuclockid(pid, &raw mut clock);
        if error != 0 {
            let error = std::io::Error::from_raw_os_error(error);
            return Err(error).context("clock_getcpuclockid");
        }
        if libc::clock_gettime(clock, &raw mut time) != 0 {
            return Err(std::io::Error::last_os_error()).context("clock_gettime");
        }
    }
    Ok(Duration::new(
        u64::try_from(time.tv_sec)?,
        u32::try_from(time.tv_nsec)?,
    ))
}

/// Whether a thread of this name runs a vCPU.
fn is_vcpu(name: &str) -> bool {
    let names = ["vcpu", "fc_vcpu", "CPU "];
    names.iter().any(|vcpu| name.starts_with(vcpu))
}

/// User and system time in seconds, of a line of `/proc/PID/task/TID/stat` (proc(5)); none of a vCPU.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    if is_vcpu(name) {
        return Some((0.0, 0.0));
    }
    let mut fields = after.split_whitespace();
    // The state is the first one behind the name and number 3 in all; the times are 14 and 15, in hundredths of a second.
    let mut time = |skipped| Some(fields.nth(skipped)?.parse::<f64>().ok()? / 100.0);
    Some((time(11)?, time(0)?))
}

/// A process and those that it started.
fn family(pid: u32) -> Result<Vec<u32>> {
    let mut all = vec![pid];
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    for child in children.split_whitespace() {
        all.extend(family(child.parse()?)?);
    }
    Ok(all)
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How long from the start of a process until it has printed `marker`; the process is then killed.
pub(crate) fn until_printed(command: &mut Command, marker: &str) -> Result<Duration> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let _watchdog = Watchdog::over(&child)?;
    let stdout = child.stdout.take().context("no standard output")?;
    let found = contains(stdout, marker);
    let wall = start.elapsed();
    child.kill()?;
    child.wait()?;
    if !found? {
        bail!("{command:?} ended without printing {marker:?}");
    }
    Ok(wall)
}

/// The proportional set size of a process and its children in KiB, without mappings of at least `guest_memory` KiB, which are the
/// guest's and not its own.
pub(crate) fn own_memory(pid: u32, guest_memory: u64) -> Result<u64> {
    let family = family(pid)?;
    let memory = family.iter().map(|pid| process_memory(*pid, guest_memory));
    memory.sum()
}

fn process_memory(pid: u32, guest_memory: u64) -> Result<u64> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut total, mut guest) = (0, false);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (name, value) = (
            words.next(),
            words.next().and_then(|word| word.parse::<u64>().ok()),
        );
        match (name, value) {
            (Some("Size:"), Some(size)) => guest = size >= guest_memory,
            (Some("Pss:"), Some(pss)) if !guest => total += pss,
            _ => {}
        }
    }
    Ok(total)
}

/// The proportional set size of one process alone, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pss {
    pub(crate) all: u64,
    /// What no file has.
    pub(crate) anonymous: u64,
}

impl Pss {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        Self::parse(&rollup).context("smaps_rollup has other fields")
    }

    fn parse(rollup: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            all: field("Pss:")?,
            anonymous: field("Pss_Anon:")?,
        })
    }
}

/// Whether `stream` contains `marker`; reads no further than that.
pub(crate) fn contains(stream: impl Read, marker: &str) -> Result<bool> {
    let mut stream = BufReader::with_capacity(4096, stream);
    let mut seen = Vec::new();
    loop {
        let chunk = stream.fill_buf()?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let count = chunk.len();
        seen.extend_from_slice(chunk);
        stream.consume(count);
        if seen
            .windows(marker.len())
            .any(|window| window == marker.as_bytes())
        {
            return Ok(true);
        }
    }
}

/// Waits for a child and returns the user and system time that it took, exact to the microsecond, and how it ended.
#[allow(unsafe_code)]
fn reap(child: &Child) -> Result<(Duration, Duration, ExitStatus)> {
    let pid = i32::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: all zeroes are a value of this plain C structure, and both pointers are to live variables.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::wait4(pid, &raw mut status, 0, &raw mut usage) != pid {
            return Err(std::io::Error::last_os_error()).context("wait4");
        }
        usage
    };
    let time = |time: libc::timeval| -> Result<Duration> {
        let micros = u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec)?;
        Ok(Duration::from_micros(micros))
    };
    let status = ExitStatus::from_raw(status);
    Ok((time(usage.ru_utime)?, time(usage.ru_stime)?, status))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::{Pss, run_time, times};

    #[test]
    fn what_a_thread_took_counts_when_it_has_ended() {
        let before = run_time(std::process::id()).unwrap();
        let busy = std::thread::spawn(|| {
            let took = || clock_gettime(ClockId::ThreadCPUTime).tv_nsec;
            while took() < 30_000_000 {}
        });
        busy.join().unwrap();
        let used = run_time(std::process::id()).unwrap() - before;
        assert!(used >= Duration::from_millis(30), "{used:?}");
    }

    #[test]
    fn a_thread_has_the_times_of_its_line_and_a_vcpu_none() {
        let line =
            |name: &str| format!("7 ({name}) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 9 0");
        assert_eq!(times(&line("disk (a) 1")), Some((2.5, 0.5)));
        assert_eq!(times(&line("vcpu0")), Some((0.0, 0.0)));
        assert_eq!(times(&line("CPU 0/KVM")), Some((0.0, 0.0)));
        assert_eq!(times("nothing"), None);
    }

    #[test]
    fn a_rollup_has_the_sum_and_what_no_file_has() {
        let rollup =
            "5-7 ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss: 7 kB\nPss_Dirty: 4 kB\nPss_Anon:  3 kB\n";
        let pss = Pss::parse(rollup).unwrap();
        assert_eq!((pss.all, pss.anonymous), (7, 3));
        assert_eq!(Pss::parse("Rss: 9 kB\n"), None);
    }
}
