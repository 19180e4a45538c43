//! Another identity for a container that runs: its frozen processes find it when they go on.

use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd};

use hull_agent_protocol::FailureKind;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{PidfdFlags, chroot, fchdir, getpid, pidfd_open};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::system::sethostname;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::failure::{Explain, Result};
use crate::places::Places;

/// What Linux makes up once for each boot (random(4)); a clone did not boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Gives the container of the process `first` a host name and a boot id. The agent is in its namespaces for as long.
pub(crate) fn identify(places: &Places, first: BorrowedFd<'_>, hostname: &str) -> Result<()> {
    let prepare = || -> std::result::Result<_, Errno> {
        let path = places.file("boot-id");
        let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        // Written into the file that is there, which may be mounted already.
        std::fs::write(&path, boot_id()?).map_err(io)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let root = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        Ok((open_tree(CWD, &path, flags)?, root, own))
    };
    let (file, root, own) = prepare().explain(FailureKind::System, || "make a boot id".into())?;
    let namespaces =
        ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    move_into_thread_name_spaces(first, namespaces)
        .explain(FailureKind::System, || "enter the container".into())?;
    let named = sethostname(hostname.as_bytes());
    let mounted = move_mount(
        &file,
        "",
        CWD,
        BOOT_ID,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    );
    // The kernel takes the topmost root of a namespace, which need not be the one that the agent had.
    move_into_thread_name_spaces(own.as_fd(), namespaces)
        .and_then(|()| fchdir(&root))
        .and_then(|()| chroot("."))
        .explain(FailureKind::System, || {
            "come back from the container".into()
        })?;
    named.explain(FailureKind::System, || {
        format!("set the host name {hostname:?}")
    })?;
    match mounted {
        // A container that took its own /proc away.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error).explain(FailureKind::Mount, || format!("mount {BOOT_ID}")),
    }
}

/// A random UUID (RFC 9562, section 5.4) and the end of the line.
fn boot_id() -> std::result::Result<String, Errno> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let mut bits = u128::from_be_bytes(bytes);
    bits = bits & !(0xf << 76) | 4 << 76;
    bits = bits & !(0b11 << 62) | 0b10 << 62;
    let mut text = String::with_capacity(37);
    for (index, byte) in bits.to_be_bytes().iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_a_random_uuid() {
        let (one, other) = (boot_id().unwrap(), boot_id().unwrap());
        assert_ne!(one, other);
        let parts: Vec<usize> = one.trim_end().split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4', "{one}");
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }
}
