//! Memory of the host, as `/proc/meminfo` tells it.

use std::fs;

use super::Check;

/// A Debian container with something to do, in MiB.
const ENOUGH: u64 = 512;
/// The smallest guest and its VMM, in MiB.
const LEAST: u64 = 64;

/// Free memory.
pub(super) fn free() -> Check {
    free_in(&meminfo())
}

fn free_in(meminfo: &str) -> Check {
    const NAME: &str = "memory";
    let Some(free) = kib(meminfo, "MemAvailable:").map(|kib| kib >> 10) else {
        return Check::limited(
            NAME,
            "how much is free is not known",
            "look at it with: free -m",
        );
    };
    let found = format!("{free} MiB free");
    let advice = "end what needs much of it, or give the host more";
    match free {
        0..LEAST => Check::bad(NAME, found, advice),
        LEAST..ENOUGH => Check::limited(NAME, found, advice),
        _ => Check::good(NAME, found),
    }
}

/// Huge pages: transparent ones are used by themselves, reserved ones where asked for.
pub(super) fn huge_pages() -> Check {
    let transparent =
        fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    huge_pages_in(&meminfo(), &transparent)
}

fn huge_pages_in(meminfo: &str, transparent: &str) -> Check {
    const NAME: &str = "huge pages";
    let free = kib(meminfo, "HugePages_Free:").unwrap_or(0);
    let reserved = format!("{free} reserved ones are free");
    let chosen = transparent
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    match chosen {
        Some((mode @ ("always" | "madvise"), _)) => Check::good(
            NAME,
            format!("transparent ones are on ({mode}), {reserved}"),
        ),
        _ => Check::limited(
            NAME,
            format!("transparent ones are off, {reserved}"),
            "switch them on for programs that ask: echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
        ),
    }
}

fn meminfo() -> String {
    fs::read_to_string("/proc/meminfo").unwrap_or_default()
}

/// The number behind a name, without its unit.
fn kib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn memory_is_judged_by_what_is_available() {
        let with = |kib: u64| free_in(&format!("MemFree: 1 kB\nMemAvailable: {kib} kB\n"));
        assert_eq!(with(8 << 20).verdict, Verdict::Good);
        assert_eq!(
            (with(200 << 10).verdict, with(200 << 10).found.as_str()),
            (Verdict::Limited, "200 MiB free")
        );
        assert_eq!(with(9).verdict, Verdict::Bad);
        assert_eq!(free_in("").verdict, Verdict::Limited);
    }

    #[test]
    fn huge_pages_are_fine_if_programs_can_ask_for_them() {
        let info = "HugePages_Free:        3\n";
        let check = huge_pages_in(info, "always [madvise] never\n");
        assert_eq!(check.verdict, Verdict::Good);
        assert_eq!(
            check.found,
            "transparent ones are on (madvise), 3 reserved ones are free"
        );
        assert_eq!(
            huge_pages_in(info, "always madvise [never]\n").verdict,
            Verdict::Limited
        );
        assert_eq!(huge_pages_in(info, "").verdict, Verdict::Limited);
    }
}
