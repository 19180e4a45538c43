//! Users and groups, resolved in the container's own `/etc/passwd` and `/etc/group` as Docker does.
//! Both files come from an image: they may be missing, huge, or anything but text.

mod files;
mod resolve;

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

pub(crate) use resolve::{User, resolve};

use crate::failure::Result;
use crate::sys::read;

/// What is read of each file; the rest of a longer one is not seen.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// Resolves `spec` and the additional `groups` in the container whose root is `root`.
pub(crate) fn look_up(root: &impl AsFd, spec: &str, groups: &[String]) -> Result<User> {
    let passwd = contents(root, "etc/passwd");
    let group = contents(root, "etc/group");
    resolve(spec, groups, &passwd, &group)
}

/// The names of a container's users.
#[derive(Debug)]
pub(crate) struct Names(Vec<u8>);

impl Names {
    pub(crate) fn read(root: &impl AsFd) -> Self {
        Self(contents(root, "etc/passwd"))
    }

    /// The name of a user, or the number.
    pub(crate) fn of(&self, uid: u32) -> String {
        let entry = files::passwd(&self.0).find(|entry| entry.uid == uid);
        entry.map_or_else(|| uid.to_string(), |entry| entry.name.to_owned())
    }
}

/// The content of a regular file inside `root`; empty when there is none.
fn contents(root: &impl AsFd, path: &str) -> Vec<u8> {
    read_file(root, path).unwrap_or_default()
}

fn read_file(root: &impl AsFd, path: &str) -> std::result::Result<Vec<u8>, Errno> {
    // Not blocking: it may be a pipe or a device, which is found out only once it is open.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    // By its size, so that a normal file is read by one call; a size that lies costs nothing.
    let size = usize::try_from(stat.st_size)
        .unwrap_or(MAX_FILE)
        .min(MAX_FILE);
    let mut content = Vec::new();
    while let Some(left @ 1..) = size.checked_sub(content.len()) {
        if read::append(&file, &mut content, left)? == 0 {
            break;
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
