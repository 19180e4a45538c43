//! Disks: their files opened, locked, and made into devices.

use std::fs::File;

use hull_devices::block::{Block, BlockConfig, CacheMode, Disk, Engine, Serial};
use hull_vm_api::config::{CacheType, Drive, HostPath, IoEngine};
use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::io::Errno;

use super::Made;
use super::rate;
use crate::error::StartError;
use crate::files::{Access, Files};

/// Makes a disk.
pub(super) fn make(drive: &Drive, files: &Files) -> Result<Made, StartError> {
    let config = BlockConfig {
        serial: match &drive.serial {
            Some(serial) => Serial::from_start_of(serial),
            None => Serial::from_start_of(&drive.drive_id),
        },
        cache: match drive.cache_type {
            CacheType::Unsafe => CacheMode::Unsafe,
            CacheType::Writeback => CacheMode::Writeback,
        },
        engine: match drive.io_engine {
            IoEngine::Sync => Engine::Sync,
            IoEngine::Async => Engine::IoUring,
        },
        queues: drive.queues.into(),
        rate: rate::limits(drive.rate_limiter.as_ref()),
    };
    let block = Block::new(config, open(drive, files)?);
    let block = block.map_err(|source| StartError::Block {
        id: drive.drive_id.clone(),
        source,
    })?;
    Ok(Made {
        rates: vec![block.rate_control()],
        device: Box::new(block),
    })
}

/// Opens what a disk consists of.
pub(super) fn open(drive: &Drive, files: &Files) -> Result<Disk, StartError> {
    let disk = match &drive.path_on_host {
        Some(path) => Disk::file(whole(drive, path, files)?, drive.is_read_only),
        None => {
            let open = |path| {
                let file = files.open("drives.parts", path, Access::Read)?;
                bypass(drive, file)
            };
            Disk::parts(drive.parts.iter().map(open).collect::<Result<_, _>>()?)
        }
    };
    disk.map_err(|source| StartError::Drive {
        id: drive.drive_id.clone(),
        source,
    })
}

/// The one file of a disk, locked.
fn whole(drive: &Drive, path: &HostPath, files: &Files) -> Result<File, StartError> {
    let access = if drive.is_read_only {
        Access::Read
    } else {
        Access::ReadWrite
    };
    let file = files.open("drives.path_on_host", path, access)?;
    lock(&file, path, &drive.drive_id, drive.is_read_only)?;
    bypass(drive, file)
}

/// Locks the file of a device: one machine can write it, or several read it. The lock (`flock`) goes with the descriptor.
pub(super) fn lock(
    file: &File,
    path: &HostPath,
    id: &str,
    read_only: bool,
) -> Result<(), StartError> {
    let lock = if read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match flock(file, lock) {
        Ok(()) => {}
        Err(Errno::AGAIN) => {
            return Err(StartError::DiskInUse {
                id: id.to_owned(),
                path: path.clone(),
            });
        }
        // File systems of other machines may have no locks.
        Err(error) => {
            tracing::warn!(
                "{path} cannot be locked, so nothing keeps others from writing it: {error}"
            );
        }
    }
    Ok(())
}

/// Lets reads and writes go past the host's page cache, if that is wanted.
fn bypass(drive: &Drive, file: File) -> Result<File, StartError> {
    if drive.direct {
        let set = fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags | OFlags::DIRECT));
        set.map_err(StartError::host(
            "direct access to a disk's file (drives.direct); its file system may have none",
        ))?;
    }
    Ok(file)
}
