//! What else of the host's kernel and disks Hull uses: TUN, cgroups, room.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use super::Check;

const GIB: u64 = 1 << 30;
/// An image and a container of some size.
const ENOUGH_DISK: u64 = 2 * GIB;
/// Less than this does not even hold a small image.
const LEAST_DISK: u64 = GIB / 16;

/// `/dev/net/tun`, for networks. Nothing is made by opening it.
pub(super) fn tun() -> Check {
    const NAME: &str = "TUN";
    const PATH: &str = "/dev/net/tun";
    match OpenOptions::new().read(true).write(true).open(PATH) {
        Ok(_) => Check::good(NAME, format!("{PATH} can be opened")),
        Err(error) if error.kind() == ErrorKind::NotFound => Check::limited(
            NAME,
            format!("there is no {PATH}, so containers have no network"),
            "load its module: sudo modprobe tun",
        ),
        Err(error) => Check::limited(
            NAME,
            format!("{PATH} cannot be opened ({error}), so containers have no network"),
            format!("let everybody open it, as distributions do: sudo chmod 666 {PATH}"),
        ),
    }
}

/// The version of cgroups. Containers have their own in their microVM; the host's limit the microVM as a whole.
pub(super) fn cgroups() -> Check {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let controllers = |dir: &str| {
        fs::read_to_string(Path::new(dir).join("cgroup.controllers")).unwrap_or_default()
    };
    cgroups_in(&mounts, controllers)
}

fn cgroups_in(mounts: &str, controllers: impl Fn(&str) -> String) -> Check {
    const NAME: &str = "cgroups";
    let of_type = |wanted: &str| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let (_, dir, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == wanted).then_some(dir)
        })
    };
    let (v1, v2) = (of_type("cgroup").is_some(), of_type("cgroup2"));
    let listed = v2.map(controllers).unwrap_or_default();
    let has = |name: &str| listed.split_ascii_whitespace().any(|each| each == name);
    if has("cpu") && has("memory") {
        return Check::good(NAME, format!("version 2 ({})", listed.trim()));
    }
    // Nothing fails for it: limits inside of a container are kept by its own kernel.
    let (found, advice) = match (v1, v2.is_some()) {
        (true, true) => (
            "version 1, and version 2 without its main controllers",
            UNIFIED,
        ),
        (true, false) => ("version 1", UNIFIED),
        (false, _) => (
            "version 2 has no main controllers, or is not mounted",
            "to limit microVMs as a whole: sudo mount -t cgroup2 none /sys/fs/cgroup",
        ),
    };
    Check::limited(NAME, found, advice)
}

/// For hosts that start with version 1.
const UNIFIED: &str = "limits inside of containers work all the same; to limit microVMs as a whole, boot the host with \
     systemd.unified_cgroup_hierarchy=1";

/// Room where images and containers are kept.
pub(super) fn disk(root: &Path) -> Check {
    const NAME: &str = "disk";
    // The directory itself may not have been made yet.
    let Some(there) = root.ancestors().find(|dir| dir.exists()) else {
        return Check::bad(
            NAME,
            format!("{} is nowhere", root.display()),
            "set HULL_ROOT to an absolute path",
        );
    };
    let Ok(stat) = rustix::fs::statvfs(there) else {
        return Check::limited(
            NAME,
            format!("the room in {} is not known", root.display()),
            "look at it with df",
        );
    };
    room(
        &root.display().to_string(),
        stat.f_bavail.saturating_mul(stat.f_frsize),
    )
}

fn room(root: &str, free: u64) -> Check {
    const NAME: &str = "disk";
    let found = format!("{} MiB free in {root}", free >> 20);
    let advice = "make room there, or set HULL_ROOT to a directory on a larger disk";
    match free {
        0..LEAST_DISK => Check::bad(NAME, found, advice),
        LEAST_DISK..ENOUGH_DISK => Check::limited(NAME, found, advice),
        _ => Check::good(NAME, format!("{} GiB free in {root}", free / GIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn cgroups_are_version_2_where_it_has_controllers() {
        let both = "cgroup /sys/fs/cgroup/memory cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let none = |_: &str| String::new();
        assert!(cgroups_in(both, none).found.starts_with("version 1"));
        let some = |_: &str| "hugetlb\n".to_owned();
        assert_eq!(cgroups_in(both, some).verdict, Verdict::Limited);
        assert!(cgroups_in("", none).found.contains("not mounted"));
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let check = cgroups_in(unified, |dir| {
            assert_eq!(dir, "/sys/fs/cgroup");
            "cpu memory\n".to_owned()
        });
        assert_eq!(
            (check.verdict, check.found.as_str()),
            (Verdict::Good, "version 2 (cpu memory)")
        );
    }

    #[test]
    fn little_room_is_a_warning_and_none_is_an_obstacle() {
        assert_eq!(room("/x", 50 * GIB).verdict, Verdict::Good);
        assert_eq!(room("/x", GIB).verdict, Verdict::Limited);
        assert_eq!(room("/x", 0).verdict, Verdict::Bad);
        assert_eq!(disk(Path::new("/nowhere/at/all")).name, "disk");
    }
}
