//! The container's processes, for `top`: those of its control group, looked up in a `/proc` of the agent's own.

use std::path::{Path, PathBuf};

use hull_agent_protocol::{ProcessInfo, Processes};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::cgroup::{Cgroup, NAME};
use crate::accounts::Names;
use crate::places::Places;
use crate::sys::{read, time};

/// The most of a command line that is told, in bytes.
const MAX_ARGUMENTS: usize = 4096;
/// The most control groups of the container's own that are looked into.
const MAX_GROUPS: usize = 1024;
/// What one message may hold, and what a process takes of it beside its texts.
const MAX_TOTAL: usize = 200 * 1024;
const FIXED: usize = 100;

/// Linux counts in hundredths of a second whatever its clock does (`USER_HZ`).
const TICK_US: u64 = 10_000;
const PAGE: u64 = 4096;

/// Reads a file of a process. The agent needs its own view of processes for little, so it is made only when it is needed.
pub(crate) fn read(places: &Places, pid: u32, name: &str) -> Result<Vec<u8>, Errno> {
    let path = places.processes().join(pid.to_string()).join(name);
    contents(&path, MAX_ARGUMENTS).or_else(|_| {
        mount_proc(places);
        contents(&path, MAX_ARGUMENTS)
    })
}

fn mount_proc(places: &Places) {
    if !places.processes().join("self").exists() {
        let _ = std::fs::create_dir(places.processes());
        let _ = mount(
            "proc",
            places.processes(),
            "proc",
            MountFlags::empty(),
            None,
        );
    }
}

fn contents(path: &Path, limit: usize) -> Result<Vec<u8>, Errno> {
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut content = Vec::new();
    read::append(&file, &mut content, limit)?;
    Ok(content)
}

/// What there is of a process before its parent has a number in the container.
#[derive(Debug)]
struct Found {
    /// Its number outside of the container, and that of its parent.
    outer: (u32, u32),
    info: ProcessInfo,
}

/// All processes of the container; `names` are its users.
pub(crate) fn list(places: &Places, group: &Cgroup, names: &Names) -> Processes {
    let mut found = Vec::new();
    let mut total: u32 = 0;
    let mut size = 0;
    for pid in members(places, group) {
        total += 1;
        if size < MAX_TOTAL
            && let Some(one) = look(places, pid, names)
        {
            let info = &one.info;
            let texts = info
                .arguments
                .iter()
                .chain([&info.user, &info.tty, &info.name]);
            size += FIXED + texts.map(|text| text.len() + 3).sum::<usize>();
            found.push(one);
        }
    }
    let number = |outer: u32| {
        let known = found.iter().find(|one| one.outer.0 == outer);
        known.map_or(0, |one| one.info.pid)
    };
    let parents: Vec<u32> = found.iter().map(|one| number(one.outer.1)).collect();
    let list = found
        .into_iter()
        .zip(parents)
        .map(|(one, ppid)| ProcessInfo { ppid, ..one.info });
    Processes {
        at_us: time::since_boot_us(),
        total,
        list: list.collect(),
    }
}

/// The processes of the group, and of those that the container has made in it.
fn members(places: &Places, group: &Cgroup) -> Vec<u32> {
    let top = places.cgroup().join(NAME);
    let has_own = group.read("cgroup.stat").lines().any(|line| {
        line.strip_prefix("nr_descendants ")
            .is_some_and(|count| count != "0")
    });
    let mut groups: Vec<PathBuf> = vec![top];
    let mut next = 0;
    let mut pids = Vec::new();
    while let Some(path) = groups.get(next).cloned() {
        next += 1;
        let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        if has_own && groups.len() < MAX_GROUPS {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            let directories =
                entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            groups.extend(directories.map(|entry| entry.path()));
        }
    }
    pids.sort_unstable();
    pids
}

fn look(places: &Places, pid: u32, names: &Names) -> Option<Found> {
    let status = read(places, pid, "status").ok()?;
    let stat = read(places, pid, "stat").ok()?;
    let arguments = read(places, pid, "cmdline").ok()?;
    let (inner, uid) = identity(&String::from_utf8_lossy(&status))?;
    let (parent, mut info) = parse(&String::from_utf8_lossy(&stat))?;
    info.pid = inner;
    info.uid = uid;
    info.user = names.of(uid);
    info.arguments = split(&arguments);
    Some(Found {
        outer: (pid, parent),
        info,
    })
}

/// The number in the innermost namespace and the effective user, from `/proc/PID/status`.
fn identity(status: &str) -> Option<(u32, u32)> {
    let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let uid = value("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    let pid = value("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    Some((pid, uid))
}

/// What `/proc/PID/stat` says, and the parent's number. The name is in parentheses and may hold any of them.
fn parse(stat: &str) -> Option<(u32, ProcessInfo)> {
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat.get(end + 1..)?.split_whitespace().collect();
    // Numbered as in proc_pid_stat(5), where the state is the third.
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |index| field(index).and_then(|text| text.parse::<u64>().ok());
    let info = ProcessInfo {
        state: field(3)?.chars().next()?,
        tty: terminal(number(7)?),
        cpu_us: number(14)?
            .saturating_add(number(15)?)
            .saturating_mul(TICK_US),
        nice: field(19)?.parse().ok()?,
        threads: u32::try_from(number(20)?).ok()?,
        started_us: number(22)?.saturating_mul(TICK_US),
        vsz: number(23)?,
        rss: number(24)?.saturating_mul(PAGE),
        name: stat.get(start + 1..end)?.to_owned(),
        ..ProcessInfo::default()
    };
    Some((u32::try_from(number(4)?).ok()?, info))
}

/// The name of a terminal from its number as a device.
fn terminal(device: u64) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match (major, minor) {
        (0, _) => "?".to_owned(),
        // Each of these has 256.
        (136..=143, minor) => format!("pts/{}", (major - 136) * 256 + minor),
        (4, 64..) => format!("ttyS{}", minor - 64),
        (4, minor) => format!("tty{minor}"),
        (5, 1) => "console".to_owned(),
        (229, minor) => format!("hvc{minor}"),
        (major, minor) => format!("{major}:{minor}"),
    }
}

/// The arguments of a command line, each of which ends with a zero byte.
fn split(line: &[u8]) -> Vec<String> {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    if line.is_empty() {
        return Vec::new();
    }
    let arguments = line.split(|byte| *byte == 0);
    arguments
        .map(|one| String::from_utf8_lossy(one).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_what_the_kernel_says() {
        let stat = "77 (a) (b c) S 3 77 77 34816 77 4194560 100 0 0 0 250 50 0 0 20 5 2 0 1234 4096000 250 18446744073709551615";
        let (parent, info) = parse(stat).unwrap();
        assert_eq!(
            (parent, info.name.as_str(), info.state),
            (3, "a) (b c", 'S')
        );
        assert_eq!(
            (info.tty.as_str(), info.nice, info.threads),
            ("pts/0", 5, 2)
        );
        assert_eq!((info.cpu_us, info.started_us), (3_000_000, 12_340_000));
        assert_eq!((info.vsz, info.rss), (4_096_000, 1_024_000));
        for bad in ["", "1 (x", "1 (x) S", "1 x) ( S 1 1 1"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        let status = "Name:\tx\nUid:\t0\t1000\t0\t0\nNSpid:\t77\t5\n";
        assert_eq!(identity(status), Some((5, 1000)));
    }

    #[test]
    fn command_lines_are_split_at_their_zeros() {
        assert_eq!(split(b"sh\0-c\0\0"), ["sh", "-c", ""]);
        assert_eq!(split(b"title of its own"), ["title of its own"]);
        assert!(split(b"").is_empty());
    }

    #[test]
    fn terminals_have_names() {
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(136 << 8 | 12), "pts/12");
        assert_eq!(terminal(5 << 8 | 1), "console");
        assert_eq!(terminal(4 << 8 | 64), "ttyS0");
    }
}
