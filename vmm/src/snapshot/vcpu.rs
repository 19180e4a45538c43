//! A vCPU's state: how it is had from KVM, and in which order KVM gets it back.

use std::ops::{Range, RangeInclusive};

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_msr_entry};
use kvm_ioctls::{Kvm, VcpuFd};

use super::format::v1::VcpuState;
use crate::kvm::KvmError;

/// `IA32_TSC_DEADLINE`.
const TSC_DEADLINE: u32 = 0x6e0;
/// Registers that make a guest's machine and that not every KVM lists.
const UNLISTED: [RangeInclusive<u32>; 10] = [
    0x11..=0x11,               // KVM's old clock for the time of day
    0xce..=0xce,               // `MSR_PLATFORM_INFO`
    0x1a0..=0x1a0,             // `IA32_MISC_ENABLE`
    0x200..=0x20f,             // the MTRRs: variable ones,
    0x250..=0x250,             // fixed ones,
    0x258..=0x259,             // fixed ones,
    0x268..=0x26f,             // fixed ones,
    0x277..=0x277,             // the PAT
    0x2ff..=0x2ff,             // the MTRRs' default
    0xc001_0015..=0xc001_0015, // `HWCR` of AMD
];
/// Registers of Hyper-V, which KVM lists and no guest is offered.
const HYPER_V: Range<u32> = 0x4000_0000..0x4000_0200;
/// More registers than any KVM lists.
const MOST: usize = 4096;
/// Registers that KVM takes at a time.
const AT_A_TIME: usize = 128;

/// Why a vCPU's state was not taken up.
#[derive(Debug, thiserror::Error)]
pub enum VcpuError {
    /// KVM does not take a part of it.
    #[error("vCPU {index}")]
    Kvm {
        /// Which.
        index: u8,
        /// What it does not take.
        #[source]
        source: KvmError,
    },
    /// More than any vCPU has.
    #[error("vCPU {index} has {count} {what}, more than any has")]
    TooMany {
        /// Which.
        index: u8,
        /// How many.
        count: usize,
        /// Of what.
        what: &'static str,
    },
    /// A register that this KVM does not know, or does not take with this value.
    #[error(
        "vCPU {index} has {value:#x} in the model-specific register {register:#x}, which this host's KVM does not take"
    )]
    Msr {
        /// Which.
        index: u8,
        /// Its address.
        register: u32,
        /// What should be there.
        value: u64,
    },
}

/// The registers of vCPUs that are saved.
///
/// # Errors
/// KVM's answer.
pub(crate) fn msrs(kvm: &Kvm) -> Result<Vec<u32>, KvmError> {
    let listed = kvm.get_msr_index_list();
    let listed = listed.map_err(KvmError::step("list its model-specific registers"))?;
    let mut msrs = listed.as_slice().to_vec();
    msrs.extend(UNLISTED.into_iter().flatten());
    msrs.retain(|msr| !HYPER_V.contains(msr));
    msrs.sort_unstable();
    msrs.dedup();
    Ok(msrs)
}

impl VcpuState {
    /// The state of a vCPU that stands still and owes KVM no answer to an access.
    ///
    /// The MP state comes first: KVM takes INIT and SIPI that wait for the vCPU into its registers when it is asked for it.
    ///
    /// # Errors
    /// What KVM refused.
    pub(crate) fn save(vcpu: &VcpuFd, msrs: &[u32]) -> Result<Self, KvmError> {
        let mp_state = vcpu.get_mp_state();
        let cpuid = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES);
        let cpuid = cpuid.map_err(KvmError::step("tell a vCPU's CPUID"))?;
        let lapic = vcpu.get_lapic();
        let lapic = lapic.map_err(KvmError::step("tell a vCPU's local APIC"))?;
        let sregs = vcpu.get_sregs();
        let sregs = sregs.map_err(KvmError::step("tell a vCPU's special registers"))?;
        let xsave = vcpu.get_xsave();
        let xsave = xsave.map_err(KvmError::step("tell a vCPU's vector registers"))?;
        let regs = vcpu.get_regs();
        let xcrs = vcpu.get_xcrs();
        let debug_regs = vcpu.get_debug_regs();
        let msrs = read(vcpu, msrs);
        let events = vcpu.get_vcpu_events();
        Ok(Self {
            cpuid: cpuid.as_slice().to_vec(),
            // Who cannot tell has one that counts as the host's does.
            tsc_khz: vcpu.get_tsc_khz().unwrap_or(0),
            mp_state: mp_state.map_err(KvmError::step("tell whether a vCPU runs"))?,
            regs: regs.map_err(KvmError::step("tell a vCPU's registers"))?,
            sregs,
            xsave: Box::new(xsave),
            xcrs: xcrs.map_err(KvmError::step("tell a vCPU's extended control registers"))?,
            debug_regs: debug_regs.map_err(KvmError::step("tell a vCPU's debug registers"))?,
            lapic: Box::new(lapic),
            msrs,
            events: events.map_err(KvmError::step("tell a vCPU's events"))?,
        })
    }

    /// Brings a new vCPU of this number into this state. The guest's memory is there already, for some registers point into it.
    ///
    /// The order, and what hangs on it:
    /// 1. CPUID, which says what of the rest there is.
    /// 2. The TSC's frequency, before anything that is counted by it.
    /// 3. The MP state: a vCPU that waits to be woken is not touched by KVM afterwards.
    /// 4. General registers before events: setting them drops an exception that is pending.
    /// 5. Special registers before the local APIC: they have its mode, by which KVM reads its ID.
    /// 6. XCR0 before the vector registers that it switches on.
    /// 7. The local APIC before model-specific registers: a deadline is only kept where its timer is in that mode.
    /// 8. Model-specific registers, in order of their numbers: the TSC (0x10) before its deadline (0x6e0), which is last of all. What
    ///    KVM is to write to memory for the guest is switched on by them.
    /// 9. Events last: all of the above may drop or make one.
    ///
    /// # Errors
    /// What KVM refused.
    pub(crate) fn restore(&self, vcpu: &VcpuFd, index: u8) -> Result<(), VcpuError> {
        let cpuid = CpuId::from_entries(&self.cpuid).map_err(|_| VcpuError::TooMany {
            index,
            count: self.cpuid.len(),
            what: "entries of CPUID",
        })?;
        let step = |what: &'static str, done: Result<(), kvm_ioctls::Error>| {
            done.map_err(|error| VcpuError::Kvm {
                index,
                source: KvmError::step(what)(error),
            })
        };
        step("set its CPUID", vcpu.set_cpuid2(&cpuid))?;
        self.set_tsc_frequency(vcpu, index)?;
        step("set whether it runs", vcpu.set_mp_state(self.mp_state))?;
        step("set its registers", vcpu.set_regs(&self.regs))?;
        step("set its special registers", vcpu.set_sregs(&self.sregs))?;
        step(
            "set its extended control registers",
            vcpu.set_xcrs(&self.xcrs),
        )?;
        // SAFETY: KVM reads the 4096 bytes of the structure, and no more than that: the process has asked for no larger state.
        #[allow(unsafe_code)]
        step("set its vector registers", unsafe {
            vcpu.set_xsave(&self.xsave)
        })?;
        step(
            "set its debug registers",
            vcpu.set_debug_regs(&self.debug_regs),
        )?;
        step("set its local APIC", vcpu.set_lapic(&self.lapic))?;
        self.set_msrs(vcpu, index)?;
        step("set its events", vcpu.set_vcpu_events(&self.events))
    }

    fn set_tsc_frequency(&self, vcpu: &VcpuFd, index: u8) -> Result<(), VcpuError> {
        let here = vcpu.get_tsc_khz().unwrap_or(0);
        // A host measures its own anew at each boot, and never finds quite the same. KVM's tolerance is 250 ppm, too.
        if self.tsc_khz == 0 || here.abs_diff(self.tsc_khz) <= self.tsc_khz / 4000 {
            return Ok(());
        }
        let set = vcpu.set_tsc_khz(self.tsc_khz);
        set.map_err(|error| VcpuError::Kvm {
            index,
            source: KvmError::step("have its TSC count as fast as it did on the other host")(error),
        })
    }

    fn set_msrs(&self, vcpu: &VcpuFd, index: u8) -> Result<(), VcpuError> {
        if self.msrs.len() > MOST {
            return Err(VcpuError::TooMany {
                index,
                count: self.msrs.len(),
                what: "model-specific registers",
            });
        }
        let mut entries: Vec<kvm_msr_entry> = self
            .msrs
            .iter()
            .map(|(at, data)| entry(*at, *data))
            .collect();
        entries.sort_by_key(|entry| (entry.index == TSC_DEADLINE, entry.index));
        let mut rest = &entries[..];
        while let Some(first) = rest.first() {
            let some = rest.get(..rest.len().min(AT_A_TIME)).unwrap_or_default();
            let list = Msrs::from_entries(some).ok();
            let count = list.and_then(|list| vcpu.set_msrs(&list).ok()).unwrap_or(0);
            if count > 0 {
                rest = rest.get(count..).unwrap_or_default();
                continue;
            }
            // Some cannot be written, and need not be if they are as they were.
            let here = read(vcpu, &[first.index]);
            if here != [(first.index, first.data)] {
                return Err(VcpuError::Msr {
                    index,
                    register: first.index,
                    value: first.data,
                });
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The registers that KVM can tell, with what is in them.
fn read(vcpu: &VcpuFd, msrs: &[u32]) -> Vec<(u32, u64)> {
    let mut there = Vec::new();
    let mut rest = msrs;
    while !rest.is_empty() {
        let some = rest.get(..rest.len().min(AT_A_TIME)).unwrap_or_default();
        let some: Vec<_> = some.iter().map(|at| entry(*at, 0)).collect();
        let Ok(mut list) = Msrs::from_entries(&some) else {
            return there;
        };
        // KVM stops at the first that it does not have.
        let count = vcpu.get_msrs(&mut list).unwrap_or(0);
        let read = list.as_slice().iter().take(count);
        there.extend(read.map(|entry| (entry.index, entry.data)));
        let missing = usize::from(count < some.len());
        rest = rest.get(count + missing..).unwrap_or_default();
    }
    there
}

fn entry(index: u32, data: u64) -> kvm_msr_entry {
    kvm_msr_entry {
        index,
        data,
        ..Default::default()
    }
}
