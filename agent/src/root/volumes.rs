//! Anonymous volumes: directories of the writable disk that begin as what the image has there.

use std::os::fd::OwnedFd;
use std::path::Path;

use hull_agent_protocol::{Failure, FailureKind};
use rustix::fs::{CWD, renameat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{copy, inside, overlay};
use crate::failure::{Explain, Result};
use crate::places::Places;

pub(super) fn mount_volume(
    places: &Places,
    root: &OwnedFd,
    target: &str,
    name: &str,
) -> Result<()> {
    check_name(name)?;
    let place = inside::directory(root, target)?.directory;
    let volumes = places.disk().join("volumes");
    overlay::make(&volumes, 0o700)?;
    let path = volumes.join(name);
    if !path.exists() {
        // Under another name until it is complete: a machine that dies meanwhile starts over.
        let source = places
            .container()
            .join(inside::resolve(root, target)?.join("/"));
        let partial = volumes.join(format!(".{name}"));
        fill(&source, &partial, &path)
            .explain(FailureKind::Mount, || format!("fill the volume {target}"))?;
    }
    mount_directory(&path, &place)
        .explain(FailureKind::Mount, || format!("mount the volume {target}"))
}

fn fill(source: &Path, partial: &Path, path: &Path) -> std::result::Result<(), Errno> {
    copy::remove_tree(partial)?;
    copy::copy_tree(source, partial)?;
    renameat(CWD, partial, CWD, path)
}

fn mount_directory(path: &Path, target: &OwnedFd) -> std::result::Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, path, flags)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", target, "", empty)
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(allowed) {
        let message = format!("invalid volume name {name:?}");
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    Ok(())
}
