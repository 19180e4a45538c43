//! Disks: their files opened, locked, and made into devices.

use std::fs::File;
use std::time::{Duration, Instant};

use hull_devices::DeviceState;
use hull_devices::block::{Block, BlockConfig, BlockState, CacheMode, Disk, Engine, Serial};
use hull_vm_api::config::{CacheType, Drive, HostPath, IoEngine};
use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::io::Errno;

use super::lane::Threads;
use super::{Made, Name, rate, saved};
use crate::error::StartError;
use crate::files::{Access, FileError, Files};

/// How long a file's lock is waited for: a process that was killed holds it until the kernel has taken its io_uring apart, which
/// nothing tells of.
const PATIENCE: Duration = Duration::from_millis(500);
const BREATH: Duration = Duration::from_millis(20);

/// Makes a disk, or restores it.
pub(super) fn make(
    drive: &Drive,
    files: &Files,
    saved: Option<&DeviceState>,
) -> Result<Made, StartError> {
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
    // Each queue can occupy one, and one is for errands.
    let queues = usize::from(drive.queues);
    let threads = match config.engine {
        Engine::Sync => Threads::Spare(queues),
        Engine::IoUring => Threads::Leader(queues + 1),
    };
    let disk = open(drive, files)?;
    let name = Name::Drive(drive.drive_id.clone());
    let block = match saved {
        None => Block::new(config, disk).map_err(|source| StartError::Block {
            id: drive.drive_id.clone(),
            source,
        })?,
        Some(DeviceState::Block(state)) => {
            let state = BlockState {
                config,
                ..state.clone()
            };
            Block::restore(&state, disk).map_err(|error| saved::unlike(&name, error))?
        }
        Some(_) => return Err(saved::other(&name)),
    };
    Ok(Made {
        rates: vec![block.rate_control()],
        device: Box::new(block),
        threads,
        fence: None,
        first: None,
    })
}

/// Opens what a disk consists of.
pub(super) fn open(drive: &Drive, files: &Files) -> Result<Disk, StartError> {
    assemble(drive, contents(drive, files)?)
}

/// How the files of a disk are opened.
pub(crate) fn access(drive: &Drive) -> Access {
    match drive.is_read_only || drive.path_on_host.is_none() {
        true => Access::Read,
        false => Access::ReadWrite,
    }
}

/// Opens the files of a disk, each with an open file description that is its own.
pub(crate) fn contents(drive: &Drive, files: &Files) -> Result<Vec<File>, StartError> {
    let access = access(drive);
    let open = |what, path: &HostPath| {
        let file = files.open(what, path, access)?;
        let again = || files.again(what, path, access);
        prepare(file, path, drive.direct, again)
    };
    match &drive.path_on_host {
        Some(path) => Ok(vec![open("drives.path_on_host", path)?]),
        None => {
            let parts = drive.parts.iter();
            parts.map(|path| open("drives.parts", path)).collect()
        }
    }
}

/// Lets reads and writes wait, which a pipe's must not but a file's must, or io_uring fails them; and lets them go past the
/// host's page cache, if that is wanted. A descriptor that was handed over shares its flags with whoever has it as well, so
/// its file is opened `again`, by the keeper.
fn prepare(
    file: File,
    path: &HostPath,
    direct: bool,
    again: impl FnOnce() -> Result<File, FileError>,
) -> Result<File, StartError> {
    const WHAT: &str =
        "direct access to a disk's file (drives.direct); its file system may have none";
    let flags = fcntl_getfl(&file).map_err(StartError::host("the flags of a disk's file"))?;
    let mut wanted = flags - OFlags::NONBLOCK;
    wanted.set(OFlags::DIRECT, direct || flags.contains(OFlags::DIRECT));
    if wanted == flags {
        return Ok(file);
    }
    let file = match path.as_fd() {
        None => file,
        Some(_) => again()?,
    };
    fcntl_setfl(&file, wanted).map_err(StartError::host(WHAT))?;
    Ok(file)
}

/// Makes a disk of its open files, locked. This may wait for the host.
pub(crate) fn assemble(drive: &Drive, contents: Vec<File>) -> Result<Disk, StartError> {
    let read_only = drive.is_read_only || drive.path_on_host.is_none();
    let paths = drive.path_on_host.iter().chain(&drive.parts);
    for (file, path) in contents.iter().zip(paths) {
        lock(file, path, &drive.drive_id, read_only)?;
    }
    let mut files = contents;
    let disk = match (&drive.path_on_host, files.len()) {
        (Some(_), 1) => Disk::file(files.remove(0), read_only),
        _ => Disk::parts(files),
    };
    disk.map_err(|source| StartError::Drive {
        id: drive.drive_id.clone(),
        source,
    })
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
    let until = Instant::now() + PATIENCE;
    let mut locked = flock(file, lock);
    while locked == Err(Errno::AGAIN) && Instant::now() < until {
        std::thread::sleep(BREATH);
        locked = flock(file, lock);
    }
    match locked {
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
