//! What a microVM goes on from at its next start, in place of booting: its own memory, of one that was suspended, or a snapshot's.
//!
//! `past.json` in its directory says so. It goes before the guest runs, since the disks that the memory belongs to change with the first
//! thing that it does: no memory is ever used twice with one set of disks.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_vm_api::Client;
use hull_vm_api::config::{ConsoleUpdate, HostPath, LinkState, NetworkUpdate};
use hull_vm_api::request::SnapshotLoad;
use serde::{Deserialize, Serialize};

use super::known::Known;
use super::net::{NetSpec, NetTarget};
use super::owned::io_error;
use super::spec::{ConsoleEnds, Opened};
use super::{ConsoleKind, ScreenSize, VmError, VmName, VmSpec, VmStatus};
use crate::container::{Directory, read_json, remove_tree, write_json};
use crate::errand::{MEMORY, STATE};
use crate::template::Seal;

/// A machine in files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Past {
    /// The snapshot that it is of; its own memory without one.
    pub(crate) snapshot: Option<String>,
    /// Where its state and memory are.
    pub(crate) directory: PathBuf,
    pub(crate) state: Seal,
    pub(crate) memory: Seal,
    /// Its disks as its guest knows them.
    pub(crate) disks: Vec<Known>,
    /// Its interfaces, with the addresses that its guest has.
    pub(crate) networks: Vec<NetSpec>,
}

fn file(directory: &Directory) -> PathBuf {
    directory.path().join("past.json")
}

impl Past {
    /// The machine in a directory's files, as long as nobody wrote to its disks.
    pub(crate) fn of_suspended(
        directory: &Directory,
        spec: &VmSpec,
        networks: Vec<NetSpec>,
    ) -> io::Result<Self> {
        let files = directory.suspended();
        let seal = |name: &str| Ok::<_, io::Error>(Seal::of(&fs::metadata(files.join(name))?));
        let known = |disk: &super::DiskSpec| {
            let file = File::open(&disk.path)?;
            // After a restart of the host it must be what the memory knows.
            file.sync_all()?;
            Known::of(&file)
        };
        Ok(Self {
            snapshot: None,
            state: seal(STATE)?,
            memory: seal(MEMORY)?,
            disks: spec.disks.iter().map(known).collect::<io::Result<_>>()?,
            networks,
            directory: files,
        })
    }

    /// What a microVM goes on from, if it does.
    pub(crate) fn read(directory: &Directory) -> Result<Option<Self>, VmError> {
        let path = file(directory);
        match read_json(&path) {
            Ok(past) => Ok(Some(past)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", path)(error)),
        }
    }

    /// Says that a microVM goes on from this.
    pub(crate) fn write(&self, directory: &Directory) -> Result<(), VmError> {
        let path = file(directory);
        write_json(&path, self).map_err(io_error("write", path))
    }

    /// Whether it is the microVM's own memory, of which there is no other.
    pub(crate) fn is_own(&self) -> bool {
        self.snapshot.is_none()
    }

    /// What a microVM is that has this.
    pub(crate) fn status(&self) -> VmStatus {
        match self.is_own() {
            true => VmStatus::Suspended,
            false => VmStatus::Created,
        }
    }

    /// Its state and memory.
    pub(crate) fn open(&self) -> Result<(File, File), VmError> {
        let open = |seal: &Seal, name| {
            let path = self.directory.join(name);
            let opened = seal.open(&path);
            opened.map_err(|source| match (&self.snapshot, source.kind()) {
                (Some(name), io::ErrorKind::NotFound) => VmError::NoSnapshot(name.clone()),
                (Some(name), _) => VmError::SnapshotDamaged {
                    name: name.clone(),
                    source,
                },
                (None, _) => io_error("use", path)(source),
            })
        };
        Ok((open(&self.state, STATE)?, open(&self.memory, MEMORY)?))
    }

    /// What its VMM is to load, and the descriptors that this names, but for those of its network.
    pub(crate) fn load(
        &self,
        name: &VmName,
        spec: &VmSpec,
        console: ConsoleEnds,
    ) -> Result<(SnapshotLoad, Vec<(String, OwnedFd)>), VmError> {
        let (state, memory) = self.open()?;
        let Opened { mut named, disks } = spec.open_disks()?;
        for (index, (known, disk)) in self.disks.iter().zip(&spec.disks).enumerate() {
            let is_same = disks.get(index).map(|file| known.is(file)).transpose();
            if is_same.map_err(io_error("read", &disk.path))? != Some(true) {
                return Err(VmError::DiskChanged {
                    disk: disk.path.clone(),
                    name: name.clone(),
                });
            }
        }
        for share in &spec.shares {
            fs::read_dir(&share.path).map_err(io_error("read", &share.path))?;
        }
        named.push(("output".to_owned(), console.output));
        named.push(("input".to_owned(), console.input));
        named.push((STATE.to_owned(), state.into()));
        named.push((MEMORY.to_owned(), memory.into()));
        let load = SnapshotLoad::new(HostPath::fd(STATE), HostPath::fd(MEMORY));
        Ok((load, named))
    }

    /// Lets a machine run that was loaded and stands still. Blocking.
    pub(crate) fn go_on(
        &self,
        client: &Client,
        directory: &Directory,
        console: (ConsoleKind, Option<ScreenSize>),
        name: &VmName,
    ) -> Result<(), VmError> {
        let refused = |source| VmError::Api {
            name: name.clone(),
            source,
        };
        if let (ConsoleKind::Virtio, Some(ScreenSize { rows, columns })) = console {
            let sized = client.patch_console(&ConsoleUpdate { rows, columns });
            sized.map_err(refused)?;
        }
        let there = self.networks.iter().filter(|net| net.to != NetTarget::None);
        for (index, net) in there.enumerate() {
            let link = match net.to {
                NetTarget::Unplugged => LinkState::Down,
                _ => LinkState::Up,
            };
            let plugged = client.patch_network_interface(&NetworkUpdate {
                iface_id: format!("net{index}"),
                rx_rate_limiter: None,
                tx_rate_limiter: None,
                allowed_addresses: None,
                link: Some(link),
            });
            plugged.map_err(refused)?;
        }
        // From here on its disks are others than those that the memory belongs to.
        let path = file(directory);
        fs::remove_file(&path).map_err(io_error("remove", path))?;
        client.resume().map_err(refused)?;
        forget_files(directory);
        Ok(())
    }
}

/// A microVM boots at its next start.
pub(crate) fn discard(directory: &Directory) -> Result<(), VmError> {
    let path = file(directory);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => {
            forget_files(directory);
            Ok(())
        }
    }
}

/// Removes its own state and memory, of which nothing is made any more.
pub(crate) fn forget_files(directory: &Directory) {
    if let Err(error) = remove_tree(Path::new(&directory.suspended())) {
        tracing::warn!(%error, "the files of a microVM that was suspended were not removed");
    }
}
