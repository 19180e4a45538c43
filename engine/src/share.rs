//! What a container's machine is given of the host: directories that are open, each for one virtio-fs device, and sockets, each for a port
//! (`relay`).

mod file;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use hull_agent_protocol as agent;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::Error;
use crate::container::{Mount, MountSource};
use crate::relay::Socket;
use crate::volume::Volumes;

/// So many a machine can have: each has an interrupt line.
pub(crate) const MOST: usize = 12;

/// How the names begin of what the agent makes in a directory while it fills it (`agent/src/root/fill.rs`): where there is any,
/// it was not finished.
const FILLING: &str = ".hull-fill";

/// The name of a file in the directory that is shared in its place.
const FILE: &str = "file";

/// One directory, open.
#[derive(Debug)]
pub(crate) struct Share {
    /// The device's name, and its descriptor's.
    pub(crate) tag: String,
    /// The guest cannot write, whatever it does.
    pub(crate) read_only: bool,
    pub(crate) directory: OwnedFd,
    mount: agent::Mount,
    /// As long as it is being filled nobody else does that.
    filling: Option<File>,
}

impl Share {
    /// What the agent is told of it.
    pub(crate) fn mount(&self) -> agent::Mount {
        self.mount.clone()
    }
}

/// All that a container mounts of the host.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) shares: Vec<Share>,
    pub(crate) sockets: Vec<Socket>,
}

impl Opened {
    /// What the agent is told of it.
    pub(crate) fn mounts(&self) -> Vec<agent::Mount> {
        let shares = self.shares.iter().map(Share::mount);
        shares
            .chain(self.sockets.iter().map(Socket::mount))
            .collect()
    }
}

/// Opens what a container mounts of the host; makes what is missing and may be made. Whoever `fills` empty volumes from the image waits
/// until others have filled the same ones. Blocking.
///
/// # Errors
/// Something is not there, or is nothing that can be shared.
pub(crate) fn open(volumes: &Volumes, mounts: &[Mount], fills: bool) -> Result<Opened, Error> {
    let (mut shared, mut sockets) = (Vec::with_capacity(mounts.len()), Vec::new());
    for (index, mount) in mounts.iter().enumerate() {
        match Socket::find(index, mount) {
            Some(socket) => sockets.push(socket),
            None => shared.push(mount),
        }
    }
    Ok(Opened {
        shares: open_shares(volumes, &shared, fills)?,
        sockets,
    })
}

/// Opens what is shared. It is numbered without gaps: a clone of a template knows its devices by these numbers.
fn open_shares(volumes: &Volumes, mounts: &[&Mount], fills: bool) -> Result<Vec<Share>, Error> {
    // In one order for all containers, so that none waits for another that waits for it.
    let mut order: Vec<usize> = (0..mounts.len()).collect();
    order.sort_by_key(|index| mounts.get(*index).and_then(|mount| mount.volume()));
    let mut opened: Vec<(usize, Share)> = Vec::with_capacity(mounts.len());
    // A volume that is mounted twice is filled once: the second lock would wait for the first.
    let mut filled: Option<&str> = None;
    for index in order {
        let Some(mount) = mounts.get(index) else {
            continue;
        };
        let again = mount.volume().is_some_and(|name| filled == Some(name));
        let share = open_one(volumes, index, mount, fills && !again)?;
        if share.filling.is_some() {
            filled = mount.volume();
        }
        opened.push((index, share));
    }
    opened.sort_by_key(|(index, _)| *index);
    Ok(opened.into_iter().map(|(_, share)| share).collect())
}

fn open_one(
    volumes: &Volumes,
    index: usize,
    mount: &Mount,
    may_fill: bool,
) -> Result<Share, Error> {
    let tag = format!("s{index}");
    let Source {
        directory,
        path,
        filling,
    } = match &mount.source {
        MountSource::Bind { path, create } => bind(path, *create)?,
        MountSource::Volume {
            name,
            no_copy,
            subpath,
            spec,
        } => {
            let (volume, _) = volumes.make(name, spec)?;
            let directory = open_volume(&volume.mountpoint, subpath.as_deref())?;
            let filling = match may_fill && !no_copy && is_unfilled(&directory) {
                true => lock_filling(volumes, name, &directory)?,
                false => None,
            };
            Source {
                directory,
                path: String::new(),
                filling,
            }
        }
    };
    let share = agent::Share {
        tag: tag.clone(),
        path,
        read_only: mount.read_only,
        fill: filling.is_some(),
        ..agent::Share::default()
    };
    Ok(Share {
        tag,
        // Who fills it must write to it; afterwards the agent keeps the container from that.
        read_only: mount.read_only && filling.is_none(),
        directory,
        mount: agent::Mount {
            target: mount.target.clone(),
            source: agent::MountSource::Share(share),
        },
        filling,
    })
}

/// What is shared, and which part of it is meant.
struct Source {
    directory: OwnedFd,
    path: String,
    filling: Option<File>,
}

/// A directory of the host, or a directory in which a file of the host is alone.
fn bind(path: &Path, create: bool) -> Result<Source, Error> {
    let look = |path: &Path| fs::metadata(path).map(|file| file.file_type());
    let mut found = look(path);
    if create
        && found
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    {
        fs::create_dir_all(path).map_err(Error::io("make the directory", path))?;
        found = look(path);
    }
    let kind = match found {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoSource(path.to_owned()));
        }
        found => found.map_err(Error::io("look at", path))?,
    };
    let (directory, part) = if kind.is_dir() {
        (open_directory(path)?, String::new())
    } else if kind.is_file() {
        let alone = file::alone(path, FILE).map_err(Error::io("share the file", path))?;
        (alone, FILE.to_owned())
    } else {
        let what = if kind.is_fifo() { "a pipe" } else { "a device" };
        return Err(Error::UnsharedSource(path.to_owned(), what));
    };
    Ok(Source {
        directory,
        path: part,
        filling: None,
    })
}

fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| Error::io("open the directory", path)(errno.into()))
}

/// A volume, or a directory in it. Containers write to it, so that no link of theirs may lead out of it.
fn open_volume(mountpoint: &Path, subpath: Option<&str>) -> Result<OwnedFd, Error> {
    let top = open_directory(mountpoint)?;
    let Some(subpath) = subpath else {
        return Ok(top);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat2(&top, subpath, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let whole: PathBuf = mountpoint.join(subpath);
    opened.map_err(|errno| Error::io("open the directory", whole)(errno.into()))
}

/// Whether a volume is empty, or was not filled to the end.
fn is_unfilled(directory: &OwnedFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(entries) = openat(directory, ".", flags, Mode::empty()).and_then(rustix::fs::Dir::new)
    else {
        return false;
    };
    let mut names = entries
        .flatten()
        .map(|entry| entry.file_name().to_bytes().to_vec());
    let mut is_empty = true;
    names.any(|name| {
        is_empty &= matches!(name.as_slice(), b"." | b"..");
        name.starts_with(FILLING.as_bytes())
    }) || is_empty
}

/// The lock of who fills a volume; nothing if somebody else has done so meanwhile.
fn lock_filling(volumes: &Volumes, name: &str, directory: &OwnedFd) -> Result<Option<File>, Error> {
    let lock = volumes
        .lock_filling(name)
        .map_err(Error::io("fill the volume", name))?;
    Ok(Some(lock).filter(|_| is_unfilled(directory)))
}

#[cfg(test)]
mod tests;
