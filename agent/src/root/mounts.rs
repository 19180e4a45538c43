//! What the user wants to have mounted, in an order in which nothing covers what belongs into it.

use std::os::fd::OwnedFd;

use hull_agent_protocol::{Mount, MountSource};

use super::{shares, sockets, tmpfs, volumes};
use crate::failure::Result;
use crate::places::Places;

/// Mounts all of it.
pub(super) fn mount_all(places: &Places, root: &OwnedFd, mounts: &[Mount]) -> Result<()> {
    for Mount { target, source } in in_order(mounts) {
        match source {
            MountSource::Tmpfs { options } => tmpfs::mount_tmpfs(root, target, options)?,
            MountSource::Volume { name } => volumes::mount_volume(places, root, target, name)?,
            MountSource::Share(share) => shares::mount_share(places, root, target, share)?,
            MountSource::Socket(socket) => sockets::mount_socket(places, root, target, socket)?,
        }
    }
    Ok(())
}

/// Whether one of them lies over the directory in which the agent has mounted files.
pub(super) fn cover_files(mounts: &[Mount]) -> bool {
    mounts
        .iter()
        .any(|mount| components(&mount.target) == ["etc"])
}

/// Whether the user has put something in the place of `/etc/NAME`.
pub(super) fn is_taken(mounts: &[Mount], name: &str) -> bool {
    mounts
        .iter()
        .any(|mount| components(&mount.target) == ["etc", name])
}

fn in_order(mounts: &[Mount]) -> Vec<&Mount> {
    let mut all: Vec<&Mount> = mounts.iter().collect();
    all.sort_by_key(|mount| components(&mount.target).len());
    all
}

/// The components of a path, as far as can be told without looking.
fn components(path: &str) -> Vec<&str> {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    components
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(target: &str) -> Mount {
        Mount {
            target: target.into(),
            source: MountSource::Tmpfs {
                options: String::new(),
            },
        }
    }

    #[test]
    fn what_lies_deeper_comes_later() {
        let mounts = ["/a/b/c", "/x//y/.", "/a", "/a/../b", "/a/b"].map(mount);
        let order: Vec<&str> = in_order(&mounts)
            .iter()
            .map(|mount| &*mount.target)
            .collect();
        assert_eq!(order, ["/a", "/a/../b", "/x//y/.", "/a/b", "/a/b/c"]);
    }

    #[test]
    fn who_has_a_file_of_his_own_keeps_it() {
        let mounts = ["/etc/hosts", "/data"].map(mount);
        assert!(is_taken(&mounts, "hosts") && !is_taken(&mounts, "hostname"));
        assert!(!cover_files(&mounts) && cover_files(&[mount("/etc/")]));
    }
}
