//! `--tmpfs PATH:OPTIONS`, with Docker's options and defaults.

use std::os::fd::OwnedFd;

use hull_agent_protocol::{Failure, FailureKind};
use rustix::fs::fstat;
use rustix::mount::MountFlags;

use super::{inside, mount_on};
use crate::failure::{Explain, Result};

/// Options as `mount(2)` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    flags: MountFlags,
    data: Vec<String>,
}

/// Options that clear or set a flag.
const FLAGS: [(&str, bool, MountFlags); 15] = [
    ("ro", true, MountFlags::RDONLY),
    ("rw", false, MountFlags::RDONLY),
    ("nosuid", true, MountFlags::NOSUID),
    ("suid", false, MountFlags::NOSUID),
    ("nodev", true, MountFlags::NODEV),
    ("dev", false, MountFlags::NODEV),
    ("noexec", true, MountFlags::NOEXEC),
    ("exec", false, MountFlags::NOEXEC),
    ("sync", true, MountFlags::SYNCHRONOUS),
    ("async", false, MountFlags::SYNCHRONOUS),
    ("noatime", true, MountFlags::NOATIME),
    ("atime", false, MountFlags::NOATIME),
    ("relatime", true, MountFlags::RELATIME),
    ("strictatime", true, MountFlags::STRICTATIME),
    ("nodiratime", true, MountFlags::NODIRATIME),
];

/// Options with a value, which the file system itself reads.
const VALUES: [&str; 7] = [
    "size",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "huge",
];

pub(super) fn mount_tmpfs(root: &OwnedFd, target: &str, options: &str) -> Result<()> {
    let mut options = parse(options)?;
    let place = inside::directory(root, target)?;
    let has_mode = options
        .data
        .iter()
        .any(|option| option.starts_with("mode="));
    if !has_mode && !place.made {
        // As runc does: what the image says about its directory goes on to hold.
        let stat =
            fstat(&place.directory).explain(FailureKind::Mount, || format!("look at {target}"))?;
        options
            .data
            .push(format!("mode={:o}", stat.st_mode & 0o7777));
    }
    mount_on(
        &place.directory,
        "tmpfs",
        options.flags,
        &options.data.join(","),
    )
    .explain(FailureKind::Mount, || format!("mount the tmpfs {target}"))
}

fn parse(text: &str) -> Result<Options> {
    let mut options = Options {
        flags: MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        data: Vec::new(),
    };
    for option in text.split(',').filter(|option| !option.is_empty()) {
        if let Some((_, set, flag)) = FLAGS.iter().find(|(name, ..)| *name == option) {
            options.flags.set(*flag, *set);
            continue;
        }
        let name = option.split_once('=').map(|(name, _)| name);
        if !name.is_some_and(|name| VALUES.contains(&name)) {
            let message = format!("invalid tmpfs option {option:?}");
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        options.data.push(option.to_owned());
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_defaults_hold_until_an_option_changes_them() {
        let default = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        assert_eq!(parse("").unwrap().flags, default);
        let options = parse("rw,exec,size=64m,mode=1777,uid=5").unwrap();
        assert_eq!(options.flags, MountFlags::NOSUID | MountFlags::NODEV);
        assert_eq!(options.data, ["size=64m", "mode=1777", "uid=5"]);
        assert!(parse("ro").unwrap().flags.contains(MountFlags::RDONLY));
        assert!(!parse("ro,rw").unwrap().flags.contains(MountFlags::RDONLY));
    }

    #[test]
    fn unknown_options_are_named() {
        for bad in ["lowerdir=/", "size", "nonsense", "mode"] {
            let error = parse(&format!("rw,{bad}")).unwrap_err();
            assert!(error.message.contains(bad), "{}", error.message);
        }
    }
}
