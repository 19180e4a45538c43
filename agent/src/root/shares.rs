//! Directories of the host, by virtio-fs: mounted beside the root first, so that nothing of the image is in the way, then filled if
//! they are to be, and then moved to their place.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hull_agent_protocol::{FailureKind, Share};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_remount,
    move_mount, open_tree, unmount,
};

use super::fill::fill;
use super::{inside, overlay};
use crate::failure::{Explain, Result};
use crate::places::Places;

pub(super) fn mount_share(
    places: &Places,
    root: &OwnedFd,
    target: &str,
    share: &Share,
) -> Result<()> {
    let beside = places.share();
    overlay::make(&beside, 0o700)?;
    attach(share, &beside).explain(FailureKind::Mount, || {
        format!("mount the share {}", share.tag)
    })?;
    let mounted = mount_in(places, root, target, share, &beside);
    if mounted.is_err() {
        let _ = unmount(&beside, UnmountFlags::DETACH);
    }
    mounted
}

/// Mounts the share, or in tests a directory of this machine.
fn attach(share: &Share, at: &Path) -> std::result::Result<(), Errno> {
    // One that is to be filled becomes read-only when it is full.
    let flags = match share.fill {
        true => flags(share) - MountFlags::RDONLY,
        false => flags(share),
    };
    if !share.tag.starts_with('/') {
        return mount(&*share.tag, at, "virtiofs", flags, None);
    }
    mount_bind(&*share.tag, at)?;
    match flags.is_empty() {
        true => Ok(()),
        false => mount_remount(at, MountFlags::BIND | flags, ""),
    }
}

fn flags(share: &Share) -> MountFlags {
    let choices = [
        (share.read_only, MountFlags::RDONLY),
        (share.nosuid, MountFlags::NOSUID),
        (share.nodev, MountFlags::NODEV),
        (share.noexec, MountFlags::NOEXEC),
    ];
    let chosen = choices.into_iter().filter(|(wanted, _)| *wanted);
    chosen.fold(MountFlags::empty(), |flags, (_, flag)| flags | flag)
}

fn mount_in(
    places: &Places,
    root: &OwnedFd,
    target: &str,
    share: &Share,
    beside: &Path,
) -> Result<()> {
    let failed = || format!("mount the share {} on {target}", share.tag);
    let part = match share.path.as_str() {
        "" => None,
        path => Some(open_part(beside, path).explain(FailureKind::Mount, || {
            format!("find {path} in the share {}", share.tag)
        })?),
    };
    let is_file = part.as_ref().is_some_and(is_file);
    let place = match is_file {
        true => inside::Directory {
            directory: inside::file(root, target)?,
            made: false,
        },
        false => inside::directory(root, target)?,
    };
    if share.fill && !is_file && !place.made {
        let from = places
            .container()
            .join(inside::resolve(root, target)?.join("/"));
        fill(&from, &beside.join(&share.path)).explain(FailureKind::Mount, || {
            format!(
                "fill the share {} with what the image has in {target}",
                share.tag
            )
        })?;
    }
    if share.fill && share.read_only {
        mount_remount(beside, MountFlags::BIND | flags(share), "")
            .explain(FailureKind::Mount, failed)?;
    }
    let place = &place.directory;
    let moved = match &part {
        None => move_mount(
            CWD,
            beside,
            place,
            "",
            MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        ),
        Some(part) => mount_part(part, place).and_then(|()| unmount(beside, UnmountFlags::DETACH)),
    };
    moved.explain(FailureKind::Mount, failed)
}

/// Opens something in a share; whoever else writes to it may have put links there, which are not followed.
fn open_part(beside: &Path, path: &str) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let share = rustix::fs::open(beside, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(&share, path, flags, Mode::empty(), resolve)
}

fn is_file(part: &OwnedFd) -> bool {
    fstat(part).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
}

pub(super) fn mount_part(part: &impl AsFd, place: &OwnedFd) -> std::result::Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(part, "", flags)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", place, "", empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags() {
        let share = Share {
            read_only: true,
            nodev: true,
            ..Share::default()
        };
        assert_eq!(flags(&share), MountFlags::RDONLY | MountFlags::NODEV);
        assert_eq!(flags(&Share::default()), MountFlags::empty());
    }
}
