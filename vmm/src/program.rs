//! The pages of the program itself.
//!
//! Most of what a VMM is made of is needed once: the command line, JSON, the loader, KVM's many settings. The kernel maps what
//! surrounds each instruction that runs, so after the start nearly all of the program counts as memory of the process. What is
//! needed again comes back from the page cache, sixteen pages at a time.

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

/// Takes the program's code out of the process's memory; what runs on is mapped again.
#[allow(unsafe_code)]
pub(crate) fn forget_start() {
    let (start, end) = (addr_of!(__executable_start), addr_of!(etext));
    let whole_pages = end.addr().saturating_sub(start.addr()) / PAGE * PAGE;
    // SAFETY: these pages are those of a file and are never written, so that they come back with the same contents.
    let forgotten = unsafe { madvise(start.cast_mut().cast(), whole_pages, Advice::LinuxDontNeed) };
    if let Err(error) = forgotten {
        tracing::debug!(%error, "the program's pages stay in memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this function's own mapping that are in memory.
    fn resident() -> u64 {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let here = (forget_start as fn() as *const u8).addr();
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
        forget_start();
        let after = resident();
        assert!(after < before, "{before} KiB before, {after} KiB after");
    }
}
