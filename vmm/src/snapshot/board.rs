//! What the vCPUs share of KVM: interrupt controllers, timer and clock.

use kvm_bindings::{
    KVM_CLOCK_REALTIME, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    kvm_clock_data, kvm_irqchip,
};
use kvm_ioctls::{Cap, VmFd};

use super::format::v1::BoardState;
use crate::kvm::KvmError;

/// The interrupt controllers besides the local APICs.
const CHIPS: [u32; 3] = [
    KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE,
    KVM_IRQCHIP_IOAPIC,
];

/// Why the state was not taken up.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// KVM does not take it.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Other chips than there are.
    #[error("it has other interrupt controllers than a PC")]
    Chips,
    /// A timer on one side only.
    #[error(
        "its guest {} the old timer (PIT), which a machine on this host {}: it comes from a host with another KVM",
        if *.0 { "has" } else { "does not have" },
        if *.0 { "does not have" } else { "has" },
    )]
    Timer(bool),
    /// The clock does not know the time of day.
    #[error(
        "clock_realtime: the host where the snapshot was taken did not note the time with the guest's clock (Linux before 5.16); leave it out"
    )]
    NoTime,
    /// The same here.
    #[error(
        "clock_realtime: this host's KVM cannot move the guest's clock by the time that has passed (Linux before 5.16); leave it out"
    )]
    NoTimeHere,
}

impl BoardState {
    /// As it is, while all vCPUs stand still.
    ///
    /// # Errors
    /// KVM's answer.
    pub(crate) fn save(vm: &VmFd, has_pit: bool) -> Result<Self, KvmError> {
        let chip = |chip_id| {
            let mut chip = kvm_irqchip {
                chip_id,
                ..kvm_irqchip::default()
            };
            let got = vm.get_irqchip(&mut chip);
            got.map_err(KvmError::step("tell its interrupt controllers"))?;
            Ok::<_, KvmError>(chip)
        };
        let pit = has_pit.then(|| vm.get_pit2()).transpose();
        let clock = vm.get_clock();
        Ok(Self {
            irqchips: CHIPS.into_iter().map(chip).collect::<Result<_, _>>()?,
            pit: pit.map_err(KvmError::step("tell its timer"))?,
            clock: clock.map_err(KvmError::step("tell the guest's clock"))?,
        })
    }

    /// Sets it in a machine whose vCPUs have their states: an interrupt that the I/O APIC holds goes on to a local APIC at once, which
    /// would forget it if it were set afterwards; and the clock is the last of all, for setting a vCPU's TSC moves it.
    ///
    /// # Errors
    /// What KVM does not take.
    pub(crate) fn restore(
        &self,
        vm: &VmFd,
        has_pit: bool,
        with_time: bool,
    ) -> Result<(), BoardError> {
        let chips = self.irqchips.iter().map(|chip| chip.chip_id);
        if !chips.eq(CHIPS) {
            return Err(BoardError::Chips);
        }
        if self.pit.is_some() != has_pit {
            return Err(BoardError::Timer(self.pit.is_some()));
        }
        for chip in &self.irqchips {
            let set = vm.set_irqchip(chip);
            set.map_err(KvmError::step("set its interrupt controllers"))?;
        }
        if let Some(pit) = &self.pit {
            let set = vm.set_pit2(pit);
            set.map_err(KvmError::step("set its timer"))?;
        }
        let clock = self.clock_to_set(vm, with_time)?;
        let set = vm.set_clock(&clock);
        set.map_err(KvmError::step("set the guest's clock"))?;
        Ok(())
    }

    /// The clock as it was, or as it would be by now.
    fn clock_to_set(&self, vm: &VmFd, with_time: bool) -> Result<kvm_clock_data, BoardError> {
        let mut clock = kvm_clock_data {
            clock: self.clock.clock,
            ..kvm_clock_data::default()
        };
        if !with_time {
            return Ok(clock);
        }
        if self.clock.flags & KVM_CLOCK_REALTIME == 0 {
            return Err(BoardError::NoTime);
        }
        let flags = u32::try_from(vm.check_extension_int(Cap::AdjustClock));
        if flags.unwrap_or(0) & KVM_CLOCK_REALTIME == 0 {
            return Err(BoardError::NoTimeHere);
        }
        clock.flags = KVM_CLOCK_REALTIME;
        clock.realtime = self.clock.realtime;
        Ok(clock)
    }
}
