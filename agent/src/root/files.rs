//! `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`: files of the agent, mounted over the
//! image's, so that the writable layer and a commit of it do not hold them.

use std::os::fd::OwnedFd;

use hull_agent_protocol::{FailureKind, Identity};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::inside;
use crate::failure::{Explain, Result};
use crate::places::Places;

pub(super) fn mount_files(places: &Places, root: &OwnedFd, identity: &Identity) -> Result<()> {
    let hostname = match identity.hostname.as_str() {
        "" => String::new(),
        name => format!("{name}\n"),
    };
    let files = [
        ("hostname", hostname.as_str()),
        ("hosts", &identity.hosts),
        ("resolv.conf", &identity.resolv_conf),
    ];
    for (name, content) in files {
        if !content.is_empty() {
            let target = inside::file(root, &format!("etc/{name}"))?;
            mount_file(places, name, content.as_bytes(), &target)
                .explain(FailureKind::Mount, || format!("mount /etc/{name}"))?;
        }
    }
    Ok(())
}

fn mount_file(
    places: &Places,
    name: &str,
    mut content: &[u8],
    target: &OwnedFd,
) -> std::result::Result<(), Errno> {
    let path = places.file(name);
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(CWD, &path, flags, Mode::from_raw_mode(0o644))?;
    while !content.is_empty() {
        let count = rustix::io::write(&file, content)?;
        content = content.get(count..).unwrap_or_default();
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, &path, flags)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", target, "", empty)
}
