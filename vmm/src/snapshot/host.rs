//! Whether this host's processor has all that the guest has seen of the one that it comes from.

use std::arch::x86_64::{__cpuid, __cpuid_count};

use hull_arch::cpuid::machine_bits;
use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use super::format::v1::{CpuidLeaf, Host};

/// Leaves with features, each bit of which a guest may have come to rely on: registers of which they are in.
/// (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.)
const FEATURES: [(u32, u32, [u32; 4]); 6] = [
    (0x1, 0, [0, 0, ECX_OF_1, ALL]),
    (0x7, 0, [0, EBX_OF_7, ALL, ALL]),
    (0x7, 1, [ALL, 0, 0, ALL]),
    (0xd, 0, [ALL, 0, 0, ALL]),
    (0xd, 1, [ALL, 0, 0, 0]),
    (0x8000_0001, 0, [0, 0, ALL, ALL]),
];
const ALL: u32 = u32::MAX;
/// Without OSXSAVE, which is what the guest makes it, HYPERVISOR, X2APIC and TSC_DEADLINE, which are KVM's.
const ECX_OF_1: u32 = !(1 << 27 | 1 << 31 | 1 << 21 | 1 << 24);
/// Without TSC_ADJUST, which is KVM's.
const EBX_OF_7: u32 = !(1 << 1);
/// KVM's own, too: RDPID and OSPKE, which is what the guest makes it.
const NOT_RAW: [(u32, u32, usize, u32); 1] = [(0x7, 0, 2, 1 << 22 | 1 << 4)];

/// Why a guest cannot go on here.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Intel and AMD.
    #[error(
        "it was taken on a processor of {there:?}, and this is one of {here:?}; load it on a host like its own"
    )]
    Vendor {
        /// There.
        there: String,
        /// Here.
        here: String,
    },
    /// Features that are missing.
    #[error(
        "its guest knows features of the processor that {whose} lacks (CPUID {leaf:#x}/{subleaf}, {register}: {bits:#010x}; it was taken on \
         Linux {kernel}); load it on a host like its own, or take it of a guest with a CPU template that hides them"
    )]
    Features {
        /// Whose they are not.
        whose: &'static str,
        /// Which leaf.
        leaf: u32,
        /// Which subleaf.
        subleaf: u32,
        /// Which register.
        register: &'static str,
        /// Those that are missing.
        bits: u32,
        /// Where the snapshot was taken.
        kernel: String,
    },
}

impl Host {
    /// This one.
    #[must_use]
    pub(crate) fn here() -> Self {
        let uname = rustix::system::uname();
        let leaves = [(0, 0), (1, 0)];
        let features = FEATURES.iter().map(|(leaf, subleaf, _)| (*leaf, *subleaf));
        let mut cpu: Vec<CpuidLeaf> = Vec::new();
        for (leaf, subleaf) in leaves.into_iter().chain(features) {
            if cpu
                .iter()
                .all(|known| (known.leaf, known.subleaf) != (leaf, subleaf))
            {
                cpu.push(ask(leaf, subleaf));
            }
        }
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            cpu,
        }
    }

    /// Whether a guest that was taken on this host can go on on `here`, whose vCPUs can have so much. `masks_hold` is asked only where the
    /// processors differ: whether what KVM hides from a guest is hidden from its programs.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn check(
        &self,
        here: &Self,
        guest: &[kvm_cpuid_entry2],
        vcpus: &CpuId,
        masks_hold: impl FnOnce() -> bool,
    ) -> Result<(), HostError> {
        let (there, own) = (self.vendor(), here.vendor());
        if there != own {
            return Err(HostError::Vendor { there, here: own });
        }
        let of_kvm = |leaf, subleaf| find(vcpus.as_slice(), leaf, subleaf);
        let of_guest = |leaf, subleaf| find(guest, leaf, subleaf);
        self.compare("this host's KVM", of_guest, of_kvm)?;
        let raw = |host: &Self, leaf, subleaf| {
            let mut leaves = host.cpu.iter();
            let found = leaves.find(|known| (known.leaf, known.subleaf) == (leaf, subleaf));
            let mut registers = found.map_or([0; 4], |found| found.registers);
            for (_, _, index, bits) in NOT_RAW
                .iter()
                .filter(|row| (row.0, row.1) == (leaf, subleaf))
            {
                if let Some(register) = registers.get_mut(*index) {
                    *register &= !bits;
                }
            }
            registers
        };
        let differs = self.compare(
            "this host's processor",
            |leaf, subleaf| raw(self, leaf, subleaf),
            |leaf, subleaf| raw(here, leaf, subleaf),
        );
        match differs {
            Err(_) if masks_hold() => Ok(()),
            result => result,
        }
    }

    fn compare(
        &self,
        whose: &'static str,
        wanted: impl Fn(u32, u32) -> [u32; 4],
        there: impl Fn(u32, u32) -> [u32; 4],
    ) -> Result<(), HostError> {
        for (leaf, subleaf, masks) in FEATURES {
            let registers = wanted(leaf, subleaf).into_iter().zip(there(leaf, subleaf));
            // How many vCPUs there are is the guest's, on whatever processor.
            let masks = masks.into_iter().zip(machine_bits(leaf));
            let names = ["EAX", "EBX", "ECX", "EDX"];
            for (((wanted, there), (mask, own)), register) in registers.zip(masks).zip(names) {
                let bits = wanted & !there & mask & !own;
                if bits != 0 {
                    return Err(HostError::Features {
                        whose,
                        leaf,
                        subleaf,
                        register,
                        bits,
                        kernel: self.kernel.escape_debug().to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The twelve letters of leaf 0.
    fn vendor(&self) -> String {
        let leaf = self.cpu.iter().find(|known| known.leaf == 0);
        let [_, ebx, ecx, edx] = leaf.map_or([0; 4], |leaf| leaf.registers);
        let bytes: Vec<u8> = [ebx, edx, ecx]
            .iter()
            .flat_map(|part| part.to_le_bytes())
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn find(entries: &[kvm_cpuid_entry2], leaf: u32, subleaf: u32) -> [u32; 4] {
    let mut entries = entries.iter();
    let found = entries.find(|entry| {
        let has_subleaves = entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
        entry.function == leaf && (entry.index == subleaf || !has_subleaves && subleaf == 0)
    });
    found.map_or([0; 4], |entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
}

fn ask(leaf: u32, subleaf: u32) -> CpuidLeaf {
    // SAFETY: every processor that KVM runs on has CPUID, and it changes nothing.
    #[allow(unsafe_code, unused_unsafe)]
    let (highest, result) = unsafe {
        (
            __cpuid(leaf & 0x8000_0000).eax,
            __cpuid_count(leaf, subleaf),
        )
    };
    let registers = match highest < leaf {
        true => [0; 4],
        false => [result.eax, result.ebx, result.ecx, result.edx],
    };
    CpuidLeaf {
        leaf,
        subleaf,
        registers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that has been told all that its host has, and what is in `more`.
    fn guest(host: &Host, more: u32) -> Vec<kvm_cpuid_entry2> {
        let leaf = |known: &CpuidLeaf| {
            let [eax, ebx, ecx, edx] = known.registers;
            kvm_cpuid_entry2 {
                function: known.leaf,
                index: known.subleaf,
                flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                eax,
                ebx,
                ecx: if known.leaf == 1 { ecx | more } else { ecx },
                edx,
                ..Default::default()
            }
        };
        host.cpu.iter().map(leaf).collect()
    }

    fn check(there: &Host, here: &Host, more: u32, masks_hold: bool) -> Result<(), HostError> {
        let vcpus = CpuId::from_entries(&guest(here, 0)).unwrap();
        there.check(here, &guest(there, more), &vcpus, || masks_hold)
    }

    /// The same host with another register in leaf 1.
    fn other(host: &Host, ecx: impl Fn(u32) -> u32) -> Host {
        let mut host = host.clone();
        for leaf in host.cpu.iter_mut().filter(|leaf| leaf.leaf == 1) {
            leaf.registers[2] = ecx(leaf.registers[2]);
        }
        host
    }

    /// POPCNT, which every processor with KVM has.
    const POPCNT: u32 = 1 << 23;

    #[test]
    fn a_guest_finds_what_it_knows_or_is_refused() {
        let here = Host::here();
        assert!(check(&here, &here, 0, false).is_ok());
        // What KVM makes by itself does not count.
        assert!(check(&here, &here, 1 << 31 | 1 << 27, false).is_ok());
        let poor = other(&here, |ecx| ecx & !POPCNT);
        let refused = check(&here, &poor, 0, true).unwrap_err().to_string();
        assert!(
            refused.contains("CPUID 0x1/0, ECX: 0x00800000") && refused.contains(&here.kernel),
            "{refused}"
        );
        // More is no loss.
        assert!(check(&poor, &here, 0, false).is_ok());
    }

    #[test]
    fn what_a_guest_was_not_told_counts_where_it_sees_it_all_the_same() {
        let here = Host::here();
        let poor = other(&here, |ecx| ecx & !POPCNT);
        let vcpus = CpuId::from_entries(&guest(&poor, 0)).unwrap();
        let masked = guest(&poor, 0);
        assert!(here.check(&poor, &masked, &vcpus, || true).is_ok());
        let refused = here.check(&poor, &masked, &vcpus, || false).unwrap_err();
        assert!(
            refused.to_string().contains("this host's processor"),
            "{refused}"
        );
    }

    #[test]
    fn how_many_vcpus_a_guest_has_is_no_feature_of_the_host() {
        let here = Host::here();
        let vcpus = CpuId::from_entries(&guest(&here, 0)).unwrap();
        let mut many = guest(&here, 0);
        for entry in &mut many {
            let [eax, ebx, ecx, edx] = machine_bits(entry.function);
            entry.eax |= eax;
            entry.ebx |= ebx;
            entry.ecx |= ecx;
            entry.edx |= edx;
        }
        assert!(here.check(&here, &many, &vcpus, || false).is_ok());
    }

    #[test]
    fn another_maker_is_named() {
        let here = Host::here();
        let mut foreign = here.clone();
        for leaf in foreign.cpu.iter_mut().filter(|leaf| leaf.leaf == 0) {
            leaf.registers[1..].copy_from_slice(&[0x6f6c_6148, 0x2e2e_2e6c, 0x2e2e_2e6c]);
        }
        let refused = check(&foreign, &here, 0, true).unwrap_err();
        assert!(refused.to_string().contains("Halo"), "{refused}");
    }
}
