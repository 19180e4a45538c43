//! Another identity for a container that runs: its frozen processes find it when they go on.

use std::cell::RefCell;
use std::fmt::Write;
use std::os::fd::{BorrowedFd, OwnedFd};

use hull_agent_protocol::{Failure, FailureKind, Identity};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::failure::{Explain, Result};
use crate::places::Places;
use crate::sys::clone::{self, Clone, Memory};

/// What Linux makes up once for each boot (random(4)); a clone did not boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What a child of the agent does in the container's namespaces: the agent itself could not find back to its own.
struct Visit<'a> {
    first: BorrowedFd<'a>,
    identity: &'a Identity,
    /// A mount of the file with the boot id, which is attached nowhere yet.
    boot_id: OwnedFd,
    failure: RefCell<Option<Failure>>,
}

/// Gives the container of the process `first` its names and a boot id.
pub(crate) fn identify(places: &Places, first: BorrowedFd<'_>, identity: &Identity) -> Result<()> {
    let path = places.file("boot-id");
    let mount = || -> std::result::Result<_, Errno> {
        let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        // Written into the file that is there, which may be mounted already.
        std::fs::write(&path, boot_id()?).map_err(io)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, &path, flags)
    };
    let visit = Visit {
        first,
        identity,
        boot_id: mount().explain(FailureKind::System, || "make a boot id".into())?,
        failure: RefCell::new(None),
    };
    let how = Clone {
        memory: Memory::Borrowed,
        namespaces: 0,
        cgroup: None,
    };
    // It has ended when this returns; the server's reaper takes it.
    clone::spawn(&how, visitor, &visit)
        .explain(FailureKind::System, || "start a process".into())?;
    visit.failure.into_inner().map_or(Ok(()), Err)
}

fn visitor(visit: &Visit<'_>) -> i32 {
    let result = visit.run();
    let failed = result.is_err();
    *visit.failure.borrow_mut() = result.err();
    i32::from(failed)
}

impl Visit<'_> {
    fn run(&self) -> Result<()> {
        let namespaces =
            ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
        move_into_thread_name_spaces(self.first, namespaces)
            .explain(FailureKind::System, || "enter the container".into())?;
        let Identity {
            hostname,
            domainname,
            ..
        } = self.identity;
        sethostname(hostname.as_bytes()).explain(FailureKind::System, || {
            format!("set the host name {hostname:?}")
        })?;
        if !domainname.is_empty() {
            setdomainname(domainname.as_bytes()).explain(FailureKind::System, || {
                format!("set the domain name {domainname:?}")
            })?;
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        match move_mount(&self.boot_id, "", CWD, BOOT_ID, flags) {
            // A container that took its own /proc away.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).explain(FailureKind::Mount, || format!("mount {BOOT_ID}")),
        }
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
