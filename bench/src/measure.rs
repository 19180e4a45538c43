//! Time, CPU time and memory of one process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a process took from its start to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// User and system time, of the process alone.
    pub(crate) cpu: Duration,
}

/// Runs a process to its end, whatever its exit status.
pub(crate) fn to_the_end(command: &mut Command) -> Result<Cost> {
    let start = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let cpu = reap(&child)?;
    Ok(Cost {
        wall: start.elapsed(),
        cpu,
    })
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
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children.split_whitespace().map(str::parse);
    let mut total = process_memory(pid, guest_memory)?;
    for child in children {
        total += process_memory(child?, guest_memory)?;
    }
    Ok(total)
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

/// Waits for a child and returns the user and system time that it took, exact to the microsecond.
#[allow(unsafe_code)]
fn reap(child: &Child) -> Result<Duration> {
    let pid = i32::try_from(child.id())?;
    // SAFETY: all zeroes are a value of this plain C structure, and both pointers are to live variables.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::wait4(pid, std::ptr::null_mut(), 0, &raw mut usage) != pid {
            return Err(std::io::Error::last_os_error()).context("wait4");
        }
        usage
    };
    let time = |time: libc::timeval| -> Result<Duration> {
        let micros = u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec)?;
        Ok(Duration::from_micros(micros))
    };
    Ok(time(usage.ru_utime)? + time(usage.ru_stime)?)
}
