//! Getting all of a guest's memory from the host before the guest starts, so that it never waits for a page.
//!
//! The host zeroes each page, which takes one thread about a third of a second for a GiB: several threads share the work. They run on
//! the CPUs of the vCPUs, if those were named, since the host gives memory that is near to whoever touches it first.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use hull_devices::GuestMemory;
use hull_vm_api::config::{HugePages, MachineConfig};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::{MIB, MemoryError, Region};
use crate::affinity::CpuSet;

/// What a thread gets in one piece, in bytes: some pieces for each, so that all end at about the same time.
const PIECE: usize = 32 << 20;
/// More threads only wait for each other's locks in the host's kernel.
const MOST_THREADS: usize = 16;
/// The smallest page of the host, in bytes.
const PAGE: usize = 4096;

/// A part of the mapping: address and size in bytes.
type Piece = (usize, usize);

/// Looks whether the host has so much: its kernel would give more than there is, and then end a process.
///
/// # Errors
/// If it has less.
pub(super) fn check(machine: &MachineConfig) -> Result<(), MemoryError> {
    let wanted = machine.mem_size_mib;
    // Huge pages are reserved and then the guest's own.
    let ordinary = machine.huge_pages != HugePages::Hugetlbfs2M;
    match available().filter(|there| machine.prefault && ordinary && *there < wanted) {
        Some(there) => Err(MemoryError::TooLittle { wanted, there }),
        None => Ok(()),
    }
}

/// Gets all of the memory.
///
/// # Errors
/// If the host runs out of it on the way.
pub(super) fn prefault(memory: &GuestMemory, machine: &MachineConfig) -> Result<(), MemoryError> {
    let wanted = machine.mem_size_mib;
    let near: CpuSet = machine.cpu_affinity.iter().flatten().copied().collect();
    let pieces: Vec<_> = memory.iter().flat_map(pieces).collect();
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.min(MOST_THREADS).min(pieces.len());
    share(&pieces, threads, &near).map_err(|source| MemoryError::Prefault { wanted, source })
}

/// Has so many threads populate the pieces; the first error counts, and ends all.
fn share(pieces: &[Piece], threads: usize, near: &CpuSet) -> io::Result<()> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = populate(*piece) {
                next.store(pieces.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        let started = (0..threads).filter(|_| {
            let pinned = || {
                if !near.is_empty() {
                    // Where the memory lies is a matter of speed only.
                    let _ = near.pin();
                }
                work();
            };
            let named = thread::Builder::new().name("prefault".to_owned());
            named.spawn_scoped(scope, pinned).is_ok()
        });
        // Without a thread it is done here, on whatever CPU this is.
        if started.count() == 0 {
            work();
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

fn pieces(region: &Region) -> impl Iterator<Item = Piece> + use<> {
    let size = usize::try_from(region.len()).unwrap_or(usize::MAX);
    let start = region
        .get_host_address(vm_memory::MemoryRegionAddress(0))
        .map_or(0, |start| start as usize);
    (0..size)
        .step_by(PIECE)
        .map(move |at| (start + at, PIECE.min(size - at)))
}

/// Has the host back a piece with pages of its own that can be written.
#[allow(unsafe_code)]
fn populate((start, size): Piece) -> io::Result<()> {
    loop {
        // SAFETY: the piece lies in a mapping of this process that lives as long as the borrowed memory, and its contents stay.
        let done = unsafe { libc::madvise(start as *mut _, size, libc::MADV_POPULATE_WRITE) };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => {}
            // Linux before 5.14.
            Some(libc::EINVAL) => {
                touch(start, size);
                return Ok(());
            }
            _ => return Err(error),
        }
    }
}

/// The same for a host that does not know `MADV_POPULATE_WRITE`.
#[allow(unsafe_code)]
fn touch(start: usize, size: usize) {
    for at in (start..start + size).step_by(PAGE) {
        let byte = at as *mut u8;
        // SAFETY: as in `populate`; neither a vCPU nor a device knows of the memory yet, so nobody else writes there.
        unsafe { byte.write_volatile(byte.read_volatile()) };
    }
}

/// What the host can give without taking it from others, in MiB, swap included; if it says so.
fn available() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let free = kib("MemAvailable:")? + kib("SwapFree:").unwrap_or(0);
    Some(free / (MIB / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_populated_by_as_many_threads_as_there_are() {
        let machine = MachineConfig {
            mem_size_mib: 80,
            ..MachineConfig::default()
        };
        let memory = crate::memory::map(&machine).unwrap();
        let pieces: Vec<_> = memory.iter().flat_map(pieces).collect();
        assert_eq!(pieces.iter().map(|(_, size)| size).sum::<usize>(), 80 << 20);
        for threads in [1, 3] {
            share(&pieces, threads, &CpuSet::default()).unwrap();
        }
        for (start, size) in &pieces {
            assert!(resident(*start, *size), "{start:#x} is not all there");
        }
        // A second mapping of which nothing is there: the look itself can fail.
        let other = crate::memory::map(&machine).unwrap();
        let mut pieces = other.iter().flat_map(super::pieces);
        let (start, size) = pieces.next().unwrap();
        assert!(!resident(start, size));
        touch(start, size);
        assert!(resident(start, size));
    }

    #[allow(unsafe_code)]
    fn resident(start: usize, size: usize) -> bool {
        let mut pages = vec![0_u8; size / PAGE];
        // SAFETY: the range is mapped, and there is a byte for each of its pages.
        let done = unsafe { libc::mincore(start as *mut _, size, pages.as_mut_ptr()) };
        assert_eq!(done, 0);
        pages.iter().all(|page| page & 1 != 0)
    }

    #[test]
    fn an_error_of_the_host_ends_it() {
        // Nothing is mapped at the first page.
        let error = share(&[(PAGE, PAGE), (PAGE, PAGE)], 2, &CpuSet::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
    }

    #[test]
    fn what_the_host_can_give_is_read_from_its_own_words() {
        let text = "MemTotal: 9 kB\nMemAvailable:    20480 kB\nSwapFree:  2048 kB\n";
        assert_eq!(parse(text), Some(22));
        assert_eq!(parse("MemTotal: 9 kB\n"), None);
    }
}
