//! From a configuration to devices: every file and socket that one needs is opened here.

use std::sync::Arc;

use hull_devices::VirtioDevice;
use hull_devices::block::{Block, BlockConfig, CacheMode, Disk, Serial};
use hull_devices::console::{Console, ConsoleBackend};
use hull_devices::rng::{Rng, RngConfig};
use hull_devices::vsock::{Dialer, UnixConnector, Vsock, VsockBackend, VsockConfig};
use hull_vm_api::VmConfig;
use hull_vm_api::config::{self, CacheType, Drive};

use crate::error::StartError;
use crate::files::{Access, Files};
use crate::socket::{self, SocketFile, SocketUse};
use crate::timeline::{Stage, Timeline};

/// All devices, and what one of them leaves with the machine.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) devices: Vec<Box<dyn VirtioDevice>>,
    pub(super) dialer: Option<Dialer>,
    pub(super) socket: Option<SocketFile>,
}

/// The devices that a configuration asks for, in the order of their slots: the disks come first.
pub(super) fn open(
    config: &VmConfig,
    files: &Files,
    timeline: &Arc<Timeline>,
) -> Result<Opened, StartError> {
    let mut opened = Opened::default();
    for drive in config.drives_in_order() {
        opened.devices.push(Box::new(block(drive, files)?));
    }
    if let Some(config) = &config.vsock {
        let (device, socket) = vsock(config, files, timeline.clone())?;
        opened.dialer = Some(device.dialer());
        opened.socket = Some(socket);
        opened.devices.push(Box::new(device));
    }
    if let Some(config) = &config.console {
        opened.devices.push(Box::new(console(config, files)?));
    }
    if config.entropy.is_some() {
        let entropy = Rng::new(&RngConfig::default())
            .map_err(StartError::host("the descriptors of the entropy device"))?;
        opened.devices.push(Box::new(entropy));
    }
    Ok(opened)
}

/// A disk: its files opened, as many of them as it has.
fn block(drive: &Drive, files: &Files) -> Result<Block, StartError> {
    let access = if drive.is_read_only {
        Access::Read
    } else {
        Access::ReadWrite
    };
    let disk = match &drive.path_on_host {
        Some(path) => {
            let file = files.open("drives.path_on_host", path, access)?;
            Disk::file(file, drive.is_read_only)
        }
        None => {
            let open = |path| files.open("drives.parts", path, Access::Read);
            Disk::parts(drive.parts.iter().map(open).collect::<Result<_, _>>()?)
        }
    };
    let disk = disk.map_err(|source| StartError::Drive {
        id: drive.drive_id.clone(),
        source,
    })?;
    let config = BlockConfig {
        serial: Serial::from_start_of(&drive.drive_id),
        cache: match drive.cache_type {
            CacheType::Unsafe => CacheMode::Unsafe,
            CacheType::Writeback => CacheMode::Writeback,
        },
        ..BlockConfig::default()
    };
    Block::new(config, disk).map_err(|source| StartError::Block {
        id: drive.drive_id.clone(),
        source,
    })
}

/// The socket device, which notes when the guest first calls the host, and the file of its socket.
fn vsock(
    config: &config::Vsock,
    files: &Files,
    timeline: Arc<Timeline>,
) -> Result<(Vsock, SocketFile), StartError> {
    let (listener, socket) = socket::listen(SocketUse::Vsock, &config.uds_path, files)?;
    let backend = VsockBackend {
        listener: Some(listener),
        connector: Box::new(UnixConnector::new(socket.path())),
        on_first_connection: Some(Box::new(move || timeline.mark(Stage::AgentReady))),
    };
    let settings = VsockConfig {
        guest_cid: config.guest_cid,
    };
    Ok((Vsock::new(settings, backend)?, socket))
}

fn console(config: &config::Console, files: &Files) -> Result<Console, StartError> {
    let output = files.open("console.output_path", &config.output_path, Access::Append)?;
    let input = match &config.input_path {
        Some(path) => Some(files.open("console.input_path", path, Access::Read)?.into()),
        None => None,
    };
    let output = output.into();
    Ok(Console::new(ConsoleBackend { output, input })?)
}
