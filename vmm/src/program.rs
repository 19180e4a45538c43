//! What only the start of a process needs, given back when it is over.
//!
//! Most of what a VMM is made of is needed once: the command line, JSON, the loader, KVM's many settings. Of each there is code, and
//! what it left free in the heap.
//!
//! The kernel maps what surrounds each instruction that runs, so after the start nearly all of the program counts as memory of the
//! process. What is needed again comes back from the page cache, sixteen pages at a time.

use std::ptr::addr_of;

use rustix::mm::{Advice, madvise};

const PAGE: usize = 4096;

#[allow(unsafe_code)]
// SAFETY: the linker defines both, as the bounds of what is never written: headers, constants, and code. Only their addresses are
// used.
unsafe extern "C" {
    static __executable_start: u8;
    static etext: u8;
}

/// Lets all threads have their memory of one heap. Call this while there is one thread.
///
/// By itself libc gives a thread a heap of its own, and most of a machine's threads ask for some hundred bytes in their lives: of each of
/// those heaps two pages were written, and 64 MiB of addresses reserved. Frames and requests of disks take no large blocks, and small
/// ones come from a cache of each thread's own, so threads do not wait for each other.
#[allow(unsafe_code)]
pub(crate) fn share_heap() {
    // SAFETY: it sets a number that is looked at when a thread allocates for the first time.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    debug_assert_eq!(set, 1, "libc does not know M_ARENA_MAX");
}

/// Takes what only the start needed out of the process's memory: code, which is mapped again if it runs, and free parts of the heap.
pub(crate) fn forget_start() {
    forget_code();
    forget_heap();
}

#[allow(unsafe_code)]
fn forget_code() {
    let (start, end) = (addr_of!(__executable_start), addr_of!(etext));
    let whole_pages = end.addr().saturating_sub(start.addr()) / PAGE * PAGE;
    // SAFETY: these pages are those of a file and are never written, so that they come back with the same contents.
    let forgotten = unsafe { madvise(start.cast_mut().cast(), whole_pages, Advice::LinuxDontNeed) };
    if let Err(error) = forgotten {
        tracing::debug!(%error, "the program's pages stay in memory");
    }
}

#[allow(unsafe_code)]
fn forget_heap() {
    // SAFETY: libc gives back whole pages of its own that nobody has.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this function's own mapping that are in memory.
    fn resident() -> u64 {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let here = (forget_code as fn() as *const u8).addr();
        let mut mappings = smaps.lines().skip_while(|line| {
            let range = line
                .split_once(' ')
                .and_then(|(range, _)| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            let range = range.and_then(|(from, to)| Some(number(from)?..number(to)?));
            !range.is_some_and(|range| range.contains(&here))
        });
        let rss = mappings.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn a_program_goes_on_without_what_it_needed_to_start() {
        // Whatever was formatted, parsed and read up to here.
        let before = resident();
        forget_code();
        let after = resident();
        assert!(after < before, "{before} KiB before, {after} KiB after");
    }
}
