//! From a configuration to devices: every file and socket that one needs is opened here.

use std::sync::Arc;

use hull_devices::VirtioDevice;
use hull_devices::balloon::{Balloon, BalloonConfig};
use hull_devices::console::{Console, ConsoleBackend, ConsoleSize};
use hull_devices::net::mmds::Mmds;
use hull_devices::rate::RateControl;
use hull_devices::rng::{Rng, RngConfig};
use hull_devices::vsock::{Dialer, Vsock, VsockBackend, VsockConfig};
use hull_vm_api::config::{self, Entropy};
use hull_vm_api::{Metadata, VmConfig};

use super::extra::Extra;
use super::lane::Threads;
use super::{Name, disk, net, rate, share};
use crate::error::StartError;
use crate::files::{Access, Files};
use crate::relay::{self, Relay};
use crate::sandbox::Fence;
use crate::timeline::{Stage, Timeline};

/// A device, and what changes its rate limits.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) device: Box<dyn VirtioDevice>,
    /// Of an interface first for what comes to the guest, then for what it sends.
    pub(super) rates: Vec<RateControl>,
    /// The threads that it gets.
    pub(super) threads: Threads,
    /// What a share's thread stays in.
    pub(super) fence: Option<Fence>,
}

impl Made {
    /// A device without rate limits.
    fn unlimited(device: impl VirtioDevice) -> Self {
        Self {
            device: Box::new(device),
            rates: Vec::new(),
            threads: Threads::EventLoop,
            fence: None,
        }
    }
}

/// All devices, and what some of them leave with the machine.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) devices: Vec<(Name, Made)>,
    pub(super) dialer: Option<Dialer>,
    pub(super) mmds: Option<Mmds>,
    pub(super) relays: Vec<Relay>,
}

/// The devices that a configuration asks for, in the order of their slots: the disks come first.
pub(super) fn open(
    config: &VmConfig,
    metadata: &Metadata,
    extra: &Extra,
    files: &Files,
    timeline: &Arc<Timeline>,
) -> Result<Opened, StartError> {
    let mut opened = Opened::default();
    let mut add = |name, made| opened.devices.push((name, made));
    for drive in config.drives_in_order() {
        let name = Name::Drive(drive.drive_id.clone());
        add(name, disk::make(drive, files)?);
    }
    for (index, pmem) in config.pmem.iter().enumerate() {
        add(Name::Pmem(pmem.id.clone()), extra.pmem(index, pmem)?);
    }
    opened.mmds = net::mmds(config, metadata)?;
    for interface in &config.network_interfaces {
        let id = &interface.iface_id;
        let shown = config.mmds_config.as_ref();
        let shown = shown.is_some_and(|mmds| mmds.network_interfaces.contains(id));
        let mmds = opened.mmds.as_ref().filter(|_| shown);
        add(
            Name::Network(id.clone()),
            net::make(interface, mmds, files)?,
        );
    }
    if let Some(config) = &config.vsock {
        let device = vsock(config, files, timeline.clone())?;
        opened.dialer = Some(device.dialer());
        add(Name::Vsock, Made::unlimited(device));
    }
    if let Some(config) = &config.console {
        let (console, relay) = console(config, files)?;
        opened.relays.extend(relay);
        add(Name::Console, Made::unlimited(console));
    }
    if let Some(config) = &config.entropy {
        add(Name::Entropy, entropy(config)?);
    }
    if let Some(config) = &config.balloon {
        add(Name::Balloon, Made::unlimited(balloon(config)?));
    }
    if let Some(config) = &config.memory_hotplug {
        add(Name::Hotplug, extra.hotplug(config)?);
    }
    for share in &config.shares {
        let made = share::make(share, config.shares.len(), files)?;
        add(Name::Share(share.tag.clone()), made);
    }
    Ok(opened)
}

fn entropy(config: &Entropy) -> Result<Made, StartError> {
    let rate = rate::limits(config.rate_limiter.as_ref());
    let entropy = Rng::new(&RngConfig { rate })
        .map_err(StartError::host("the descriptors of the entropy device"))?;
    Ok(Made {
        rates: vec![entropy.rate_control()],
        device: Box::new(entropy),
        threads: Threads::EventLoop,
        fence: None,
    })
}

fn balloon(config: &config::Balloon) -> Result<Balloon, StartError> {
    Ok(Balloon::new(BalloonConfig {
        target_pages: pages(config.amount_mib),
        deflate_on_oom: config.deflate_on_oom,
        statistics_interval_s: config.stats_polling_interval_s,
        free_page_hinting: config.free_page_hinting,
        free_page_reporting: config.free_page_reporting,
    })?)
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
) -> Result<Vsock, StartError> {
    let backend = VsockBackend {
        listener: Some(files.listener(&config.uds_path)?),
        connector: files.connector(),
        on_first_connection: Some(Box::new(move || timeline.mark(Stage::AgentReady))),
    };
    let settings = VsockConfig {
        guest_cid: config.guest_cid,
    };
    Ok(Vsock::new(settings, backend)?)
}

fn console(
    config: &config::Console,
    files: &Files,
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
    let mut console = Console::new(ConsoleBackend { output, input })?;
    if let (Some(rows), Some(columns)) = (config.rows, config.columns) {
        console.set_size(ConsoleSize { columns, rows });
    }
    Ok((console, relay))
}
