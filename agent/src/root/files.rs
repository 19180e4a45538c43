//! `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf` and `/etc/machine-id`: files of the agent, mounted over the
//! image's, so that the writable layer and a commit of it do not hold them.

use std::os::fd::OwnedFd;

use hull_agent_protocol::{FailureKind, Identity, Mount};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{inside, mounts};
use crate::failure::{Explain, Result};
use crate::places::Places;

/// Mounts the files of an identity; one that is empty is not mounted, nor one in whose place the user has mounted something.
pub(super) fn mount_files(
    places: &Places,
    root: &OwnedFd,
    identity: &Identity,
    mounts: &[Mount],
) -> Result<()> {
    for (name, content) in contents(identity) {
        if content.is_empty() || mounts::is_taken(mounts, name) {
            continue;
        }
        let path = format!("etc/{name}");
        let target = match name {
            // Who looks for one takes the image's word for whether there is any.
            MACHINE_ID => inside::find(root, &path)?,
            _ => Some(inside::file(root, &path)?),
        };
        if let Some(target) = target {
            let mounted =
                write_file(places, name, &content).and_then(|()| mount(places, name, &target));
            mounted.explain(FailureKind::Mount, || format!("mount /etc/{name}"))?;
        }
    }
    Ok(())
}

/// Gives the files of an identity, which are mounted, the contents of another.
pub(super) fn identify(places: &Places, identity: &Identity) -> Result<()> {
    for (name, content) in contents(identity) {
        write_file(places, name, &content)
            .explain(FailureKind::System, || format!("write /etc/{name}"))?;
    }
    Ok(())
}

/// Gives `/etc/hosts` another content, also where processes see it already.
pub(crate) fn replace_hosts(places: &Places, content: &str) -> Result<()> {
    write_file(places, HOSTS, content)
        .explain(FailureKind::System, || format!("write /etc/{HOSTS}"))
}

/// Gives `/etc/resolv.conf` another content.
pub(crate) fn replace_resolv_conf(places: &Places, content: &str) -> Result<()> {
    let written = write_file(places, RESOLV_CONF, content);
    written.explain(FailureKind::System, || format!("write /etc/{RESOLV_CONF}"))
}

const HOSTS: &str = "hosts";
const RESOLV_CONF: &str = "resolv.conf";
const MACHINE_ID: &str = "machine-id";

fn contents(identity: &Identity) -> [(&'static str, String); 4] {
    let line = |text: &str| match text {
        "" => String::new(),
        text => format!("{text}\n"),
    };
    [
        ("hostname", line(&identity.hostname)),
        (HOSTS, identity.hosts.clone()),
        (RESOLV_CONF, identity.resolv_conf.clone()),
        (MACHINE_ID, line(&identity.machine_id)),
    ]
}

fn write_file(places: &Places, name: &str, content: &str) -> std::result::Result<(), Errno> {
    let mut content = content.as_bytes();
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(CWD, places.file(name), flags, Mode::from_raw_mode(0o644))?;
    while !content.is_empty() {
        let count = rustix::io::write(&file, content)?;
        content = content.get(count..).unwrap_or_default();
    }
    Ok(())
}

fn mount(places: &Places, name: &str, target: &OwnedFd) -> std::result::Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, places.file(name), flags)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", target, "", empty)
}
