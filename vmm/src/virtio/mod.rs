//! The machine's virtio devices: which there are, where they sit, and how KVM connects them with the guest.
//!
//! A notification of the guest becomes an event of the event loop (ioeventfd), and an event of a device becomes an interrupt of the
//! guest (irqfd), both without a vCPU coming out to this process.

mod devices;

use std::io;
use std::sync::Arc;

use hull_arch::layout::{self, VirtioSlot};
use hull_devices::vsock::Dialer;
use hull_devices::{Cause, GuestMemory, Interrupt, MMIO_SIZE, MmioTransport, QUEUE_NOTIFY};
use hull_vm_api::VmConfig;
use kvm_ioctls::{IoEventAddress, VmFd};
use vm_memory::Address;

use crate::bus::{Bus, Registers};
use crate::error::StartError;
use crate::files::Files;
use crate::kvm::KvmError;
use crate::legacy::IrqLine;
use crate::socket::SocketFile;
use crate::timeline::Timeline;

/// The machine's virtio devices, each in its slot.
#[derive(Debug)]
pub(crate) struct Virtio {
    attached: Vec<(VirtioSlot, Arc<MmioTransport>)>,
    /// The way to ports of the guest, if it has vsock.
    dialer: Option<Dialer>,
    /// Goes with the machine.
    _socket: Option<SocketFile>,
}

impl Virtio {
    /// Makes the devices and connects them with the machine, which has its memory already.
    ///
    /// # Errors
    /// What a device lacks, or what KVM refused.
    pub(crate) fn new(
        config: &VmConfig,
        files: &Files,
        vm: &VmFd,
        memory: &GuestMemory,
        timeline: &Arc<Timeline>,
    ) -> Result<Self, StartError> {
        let opened = devices::open(config, files, timeline)?;
        let mut attached = Vec::new();
        for (index, device) in (0..).zip(opened.devices) {
            let slot = layout::virtio_slot(index).ok_or(StartError::TooManyDevices)?;
            let line = IrqLine::connect(vm, slot.gsi)
                .map_err(StartError::host("an interrupt line of a device"))?;
            let transport = MmioTransport::new(device, memory.clone(), Arc::new(line))
                .map_err(StartError::host("the eventfds of a device"))?;
            listen(vm, slot, &transport)?;
            attached.push((slot, Arc::new(transport)));
        }
        Ok(Self {
            attached,
            dialer: opened.dialer,
            _socket: opened.socket,
        })
    }

    /// Where the devices are.
    #[must_use]
    pub(crate) fn slots(&self) -> Vec<VirtioSlot> {
        self.attached.iter().map(|(slot, _)| *slot).collect()
    }

    /// The way to ports of the guest, if it has vsock.
    #[must_use]
    pub(crate) fn dialer(&self) -> Option<Dialer> {
        self.dialer.clone()
    }

    /// What the event loop is to run.
    pub(crate) fn transports(&self) -> impl Iterator<Item = Arc<MmioTransport>> {
        self.attached.iter().map(|(_, transport)| transport.clone())
    }

    /// Stops all devices. No vCPU may be in the guest.
    pub(crate) fn pause(&self) {
        self.transports().for_each(|transport| transport.pause());
    }

    /// Starts all devices where they were stopped. The vCPUs follow.
    pub(crate) fn resume(&self) {
        self.transports().for_each(|transport| transport.resume());
    }

    /// Puts the registers on the bus.
    ///
    /// # Errors
    /// If something else is there.
    pub(crate) fn attach(&self, mmio: &mut Bus) -> Result<(), StartError> {
        for (slot, transport) in &self.attached {
            let base = slot.base.raw_value();
            mmio.attach(base..base + MMIO_SIZE, transport.clone())?;
        }
        Ok(())
    }
}

/// Lets KVM turn a notification of queue i into its event.
fn listen(vm: &VmFd, slot: VirtioSlot, transport: &MmioTransport) -> Result<(), KvmError> {
    let address = IoEventAddress::Mmio(slot.base.raw_value() + QUEUE_NOTIFY);
    for (queue, kick) in (0_u32..).zip(transport.kicks()) {
        vm.register_ioevent(kick, &address, queue)
            .map_err(KvmError::step("listen for notifications"))?;
    }
    Ok(())
}

impl Interrupt for IrqLine {
    fn trigger(&self, _cause: Cause) -> io::Result<()> {
        self.pulse();
        Ok(())
    }
}

impl Registers for MmioTransport {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.write(offset, data);
    }
}
