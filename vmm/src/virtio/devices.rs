//! From a configuration to devices: every file and socket that one needs is opened here.

use std::sync::Arc;

use hull_devices::balloon::{Balloon, BalloonConfig};
use hull_devices::console::{Console, ConsoleBackend, ConsoleSize};
use hull_devices::net::mmds::Mmds;
use hull_devices::rate::RateControl;
use hull_devices::rng::{Rng, RngConfig};
use hull_devices::vsock::{Dialer, Vsock, VsockBackend, VsockConfig};
use hull_devices::{DeviceState, MmioTransport, TransportState, VirtioDevice};
use hull_vm_api::config::{self, Entropy};
use hull_vm_api::{Draft, Metadata};

use super::extra::Extra;
use super::lane::Threads;
use super::saved::{self, SavedDevices};
use super::{Name, disk, net, rate, share};
use crate::error::StartError;
use crate::files::{Access, Files};
use crate::relay::{self, Relay};
use crate::sandbox::Fence;
use crate::snapshot::format::v1::Device;
use crate::timeline::{Stage, Timeline};

/// A device, and what changes its rate limits.
pub(super) struct Made {
    pub(super) device: Box<dyn VirtioDevice>,
    /// Of an interface first for what comes to the guest, then for what it sends.
    pub(super) rates: Vec<RateControl>,
    /// The threads that it gets.
    pub(super) threads: Threads,
    /// What a share's thread stays in.
    pub(super) fence: Option<Fence>,
    /// What its thread does before all else.
    pub(super) first: Option<First>,
}

/// What a device's thread does before all else.
pub(super) type First = Box<dyn FnOnce(&MmioTransport) -> Result<(), StartError> + Send>;

impl Made {
    /// A device without rate limits.
    fn unlimited(device: impl VirtioDevice) -> Self {
        Self {
            device: Box::new(device),
            rates: Vec::new(),
            threads: Threads::EventLoop,
            fence: None,
            first: None,
        }
    }
}

/// Makes a device of what was saved of it, if it is not new.
type Make<'a> = &'a mut dyn FnMut(Option<&DeviceState>) -> Result<Made, StartError>;

/// All devices, and what some of them leave with the machine.
#[derive(Default)]
pub(super) struct Opened<'a> {
    /// Each with the registers that it had, if it is not new.
    pub(super) devices: Vec<(Name, Made, Option<&'a TransportState>)>,
    pub(super) dialer: Option<Dialer>,
    pub(super) mmds: Option<Mmds>,
    pub(super) relays: Vec<Relay>,
}

/// The devices that a configuration asks for, in the order of their slots: the disks come first. What was saved of them goes with them.
pub(super) fn open<'a>(
    config: &Draft,
    metadata: &Metadata,
    extra: &Extra,
    (files, timeline): (&Files, &Arc<Timeline>),
    saved: Option<&'a [Device]>,
) -> Result<Opened<'a>, StartError> {
    let mut opened = Opened::default();
    let mut saved = SavedDevices::new(saved);
    let mut add = |name: Name, make: Make<'_>| {
        let transport = saved.next(&name)?;
        let made = make(saved::device(transport))?;
        opened.devices.push((name, made, transport));
        Ok::<_, StartError>(())
    };
    for drive in config.drives_in_order() {
        let name = Name::Drive(drive.drive_id.clone());
        add(name, &mut |saved| disk::make(drive, files, saved))?;
    }
    for (index, pmem) in config.pmem.iter().enumerate() {
        let name = Name::Pmem(pmem.id.clone());
        add(name, &mut |saved| extra.pmem(index, pmem, saved))?;
    }
    opened.mmds = net::mmds(config, metadata)?;
    for interface in &config.network_interfaces {
        let id = &interface.iface_id;
        let shown = config.mmds_config.as_ref();
        let shown = shown.is_some_and(|mmds| mmds.network_interfaces.contains(id));
        let mmds = opened.mmds.as_ref().filter(|_| shown);
        let name = Name::Network(id.clone());
        add(name, &mut |saved| net::make(interface, mmds, files, saved))?;
    }
    if let Some(config) = &config.vsock {
        let dialer = &mut opened.dialer;
        add(Name::Vsock, &mut |saved| {
            let device = vsock(config, files, timeline.clone(), saved)?;
            *dialer = Some(device.dialer());
            Ok(Made::unlimited(device))
        })?;
    }
    if let Some(config) = &config.console {
        let relays = &mut opened.relays;
        add(Name::Console, &mut |saved| {
            let (console, relay) = console(config, files, saved)?;
            relays.extend(relay);
            Ok(Made::unlimited(console))
        })?;
    }
    if let Some(config) = &config.entropy {
        add(Name::Entropy, &mut |saved| entropy(config, saved))?;
    }
    if let Some(config) = &config.balloon {
        add(Name::Balloon, &mut |saved| {
            Ok(Made::unlimited(balloon(config, saved)?))
        })?;
    }
    if let Some(config) = &config.memory_hotplug {
        add(Name::Hotplug, &mut |saved| extra.hotplug(config, saved))?;
    }
    for share in &config.shares {
        let name = Name::Share(share.tag.clone());
        let count = config.shares.len();
        add(name, &mut |saved| share::make(share, count, files, saved))?;
    }
    saved.end()?;
    Ok(opened)
}

fn entropy(config: &Entropy, saved: Option<&DeviceState>) -> Result<Made, StartError> {
    let entropy = match saved {
        None => {
            let rate = rate::limits(config.rate_limiter.as_ref());
            Rng::new(&RngConfig { rate })
                .map_err(StartError::host("the descriptors of the entropy device"))?
        }
        Some(DeviceState::Rng(state)) => {
            Rng::restore(state).map_err(|error| saved::unlike(&Name::Entropy, error))?
        }
        Some(_) => return Err(saved::other(&Name::Entropy)),
    };
    Ok(Made {
        rates: vec![entropy.rate_control()],
        device: Box::new(entropy),
        threads: Threads::EventLoop,
        fence: None,
        first: None,
    })
}

fn balloon(config: &config::Balloon, saved: Option<&DeviceState>) -> Result<Balloon, StartError> {
    Ok(match saved {
        None => Balloon::new(BalloonConfig {
            target_pages: pages(config.amount_mib),
            deflate_on_oom: config.deflate_on_oom,
            statistics_interval_s: config.stats_polling_interval_s,
            free_page_hinting: config.free_page_hinting,
            free_page_reporting: config.free_page_reporting,
        })?,
        Some(DeviceState::Balloon(state)) => Balloon::restore(state)?,
        Some(_) => return Err(saved::other(&Name::Balloon)),
    })
}

/// Pages of a balloon in so many MiB.
pub(crate) fn pages(mib: u32) -> u32 {
    // No guest has as many as are lost here.
    mib.saturating_mul(256)
}

/// The socket device, which notes when the guest first calls the host.
fn vsock(
    config: &config::Vsock,
    files: &Files,
    timeline: Arc<Timeline>,
    saved: Option<&DeviceState>,
) -> Result<Vsock, StartError> {
    let backend = VsockBackend {
        listener: Some(files.listener(&config.uds_path)?),
        connector: files.connector(),
        on_first_connection: Some(Box::new(move || timeline.mark(Stage::AgentReady))),
    };
    let settings = VsockConfig {
        guest_cid: config.guest_cid,
    };
    Ok(match saved {
        None => Vsock::new(settings, backend)?,
        Some(DeviceState::Vsock(state)) if state.guest_cid == settings.guest_cid => {
            Vsock::restore(state, backend)?
        }
        Some(_) => return Err(saved::other(&Name::Vsock)),
    })
}

fn console(
    config: &config::Console,
    files: &Files,
    saved: Option<&DeviceState>,
) -> Result<(Console, Option<Relay>), StartError> {
    let output = files.open("console.output_path", &config.output_path, Access::Append)?;
    let input = match &config.input_path {
        Some(path) => Some(
            files
                .open("console.input_path", path, Access::Input)?
                .into(),
        ),
        None => None,
    };
    let (output, relay) = relay::output("console", output, Some(files.confinement()))
        .map_err(StartError::host("a thread for the console"))?;
    let backend = ConsoleBackend { output, input };
    let mut console = match saved {
        None => Console::new(backend)?,
        Some(DeviceState::Console(state)) => Console::restore(state, backend)?,
        Some(_) => return Err(saved::other(&Name::Console)),
    };
    if let (Some(rows), Some(columns)) = (config.rows, config.columns) {
        console.set_size(ConsoleSize { columns, rows });
    }
    Ok((console, relay))
}
