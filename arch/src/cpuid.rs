//! CPUID as a guest sees it: what KVM supports, with the identity of one vCPU, the topology of its machine, and
//! without what would make a guest wait or warn.
//!
//! Sources: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E; Linux `Documentation/virt/kvm/x86/cpuid.rst`.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use crate::topology::Topology;

const FEATURES: u32 = 0x1;
const CACHES_INTEL: u32 = 0x4;
const POWER: u32 = 0x6;
const PERFORMANCE: u32 = 0xa;
const TOPOLOGY: u32 = 0xb;
const TOPOLOGY_V2: u32 = 0x1f;
const TSC_FREQUENCY: u32 = 0x15;
const CPU_FREQUENCY: u32 = 0x16;
const HYPERVISOR: u32 = 0x4000_0000;
const KVM_FEATURES: u32 = 0x4000_0001;
const TIMING: u32 = 0x4000_0010;
const FEATURES_EXTENDED: u32 = 0x8000_0001;
const PERFORMANCE_AMD: u32 = 0x8000_0022;
const SIZES_AMD: u32 = 0x8000_0008;
const CACHES_AMD: u32 = 0x8000_001d;
const TOPOLOGY_AMD: u32 = 0x8000_001e;

/// Leaf 1.
const ECX_X2APIC: u32 = 1 << 21;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
/// The guest's kernel uses XSAVE: a copy of CR4.OSXSAVE, which KVM makes where it can. A guest whose kernel does not would
/// find the host's otherwise, and its programs would use vector registers that their kernel does not save.
const ECX_OSXSAVE: u32 = 1 << 27;
const ECX_HYPERVISOR: u32 = 1 << 31;
const EDX_HTT: u32 = 1 << 28;
/// The line that CLFLUSH flushes, in units of eight bytes.
const CLFLUSH: u32 = 8;
/// Leaf 6: the performance bias MSR, which KVM does not model.
const ECX_EPB: u32 = 1 << 3;
/// Leaf 0x8000_0001, ECX: threads are cores of their own, and leaf 0x8000_001e is there.
const ECX_CMP_LEGACY: u32 = 1 << 1;
/// The same leaf: performance counters.
const ECX_PERFCTR_CORE: u32 = 1 << 23;
/// `KVM_FEATURE_CLOCKSOURCE_STABLE_BIT`: kvmclock is the same on all vCPUs, so that the vDSO can read it.
const STABLE_CLOCK: u32 = 1 << 24;

/// Paravirtual features that a guest uses by hypercall: `PV_UNHALT`, `PV_SEND_IPI` and `PV_SCHED_YIELD`. Where KVM interprets
/// the guest's kernel the instruction never returns, and a guest is to find the same CPU on every host.
const BY_HYPERCALL: u32 = 1 << 7 | 1 << 11 | 1 << 13;

/// KVM's APIC timers count nanoseconds.
const APIC_TIMER_HZ: u32 = 1_000_000_000;

/// Level types of the topology leaves.
const LEVEL_THREAD: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// What the host adds to `KVM_GET_SUPPORTED_CPUID`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// `KVM_CAP_TSC_DEADLINE_TIMER`: supported, although the list of KVM does not say so.
    pub tsc_deadline: bool,
    /// What `KVM_GET_TSC_KHZ` gives. Without it a guest asks kvmclock.
    pub tsc_khz: Option<u32>,
}

/// The CPUID of vCPU `index`, from what `KVM_GET_SUPPORTED_CPUID` returned.
///
/// # Errors
/// When there are more entries than a `CpuId` can hold, which KVM's own list never has.
pub fn normalise(
    supported: &CpuId,
    index: u8,
    topology: Topology,
    host: Host,
) -> Result<CpuId, vmm_sys_util::fam::Error> {
    let mut entries: Vec<kvm_cpuid_entry2> = supported
        .as_slice()
        .iter()
        .filter(|entry| !matches!(entry.function, TOPOLOGY | TOPOLOGY_V2))
        .copied()
        .collect();
    let leaves = supported.as_slice();
    for entry in &mut entries {
        adjust(entry, index, topology, host);
    }
    for leaf in [TOPOLOGY, TOPOLOGY_V2] {
        if leaves.iter().any(|entry| entry.function == leaf) {
            entries.extend(topology_leaf(leaf, index, topology));
        }
    }
    if let Some(khz @ 1..) = host.tsc_khz {
        tell_frequencies(&mut entries, khz, is_amd(supported));
    }
    CpuId::from_entries(&entries)
}

/// How fast the TSC and the APIC's timer count, so that a guest need not measure: in a leaf that VMware began and others took
/// over, and on Intel in the processor's own.
fn tell_frequencies(entries: &mut Vec<kvm_cpuid_entry2>, tsc_khz: u32, amd: bool) {
    let timing = [tsc_khz, APIC_TIMER_HZ / 1000, 0, 0];
    replace(entries, HYPERVISOR, TIMING, timing);
    if amd {
        return;
    }
    // TSC = crystal * EBX / EAX, with the clock of the APIC's timer as crystal, because Linux takes the one for the other.
    let ratio = [APIC_TIMER_HZ / 1000, tsc_khz, APIC_TIMER_HZ, 0];
    replace(entries, 0, TSC_FREQUENCY, ratio);
    // Base and highest frequency of the CPU and that of its bus, in MHz.
    let mhz = tsc_khz.div_ceil(1000);
    replace(entries, 0, CPU_FREQUENCY, [mhz, mhz, 100, 0]);
}

/// Puts EAX, EBX, ECX, EDX of a leaf in the place of what is there, if the leaf `range` is there to say how far leaves go.
fn replace(entries: &mut Vec<kvm_cpuid_entry2>, range: u32, function: u32, values: [u32; 4]) {
    let Some(limit) = entries.iter_mut().find(|entry| entry.function == range) else {
        return;
    };
    limit.eax = limit.eax.max(function);
    let [eax, ebx, ecx, edx] = values;
    entries.retain(|entry| entry.function != function);
    entries.push(kvm_cpuid_entry2 {
        function,
        eax,
        ebx,
        ecx,
        edx,
        ..kvm_cpuid_entry2::default()
    });
}

/// Whether the processor follows AMD's manual: AMD's own and Hygon's.
#[must_use]
pub fn is_amd(supported: &CpuId) -> bool {
    let vendor = supported
        .as_slice()
        .iter()
        .find(|entry| entry.function == 0);
    vendor.is_some_and(|entry| {
        let name = [entry.ebx, entry.edx, entry.ecx]
            .map(u32::to_le_bytes)
            .concat();
        matches!(name.as_slice(), b"AuthenticAMD" | b"HygonGenuine")
    })
}

fn adjust(entry: &mut kvm_cpuid_entry2, index: u8, topology: Topology, host: Host) {
    let vcpus = u32::from(topology.vcpus());
    let apic_id = u32::from(topology.apic_id(index));
    let threads = u32::from(topology.threads_per_core());
    match entry.function {
        FEATURES => {
            entry.ebx = (entry.ebx & 0xff)
                | CLFLUSH << 8
                | (1 << topology.package_bits()) << 16
                | apic_id << 24;
            entry.ecx |= ECX_HYPERVISOR | ECX_X2APIC;
            set(&mut entry.ecx, ECX_TSC_DEADLINE, host.tsc_deadline);
            set(&mut entry.ecx, ECX_OSXSAVE, false);
            set(&mut entry.edx, EDX_HTT, vcpus > 1);
        }
        CACHES_INTEL if entry.eax & 0x1f != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level >= 3 {
                1 << topology.package_bits()
            } else {
                threads
            };
            let cores = 1 << (topology.package_bits() - topology.thread_bits());
            entry.eax = (entry.eax & 0x3fff) | (sharing - 1) << 14 | (cores - 1) << 26;
        }
        POWER => entry.ecx &= !ECX_EPB,
        // No performance counters: a guest that sees them programs them at boot and at every context switch.
        PERFORMANCE | PERFORMANCE_AMD => {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
        }
        KVM_FEATURES => entry.eax = (entry.eax | STABLE_CLOCK) & !BY_HYPERCALL,
        FEATURES_EXTENDED => {
            set(&mut entry.ecx, ECX_CMP_LEGACY, vcpus > 1 && threads == 1);
            set(&mut entry.ecx, ECX_PERFCTR_CORE, false);
        }
        SIZES_AMD => entry.ecx = topology.package_bits() << 12 | (vcpus - 1),
        CACHES_AMD if entry.eax & 0x1f != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level >= 3 { vcpus } else { threads };
            entry.eax = (entry.eax & 0x3fff) | (sharing - 1) << 14;
        }
        TOPOLOGY_AMD => {
            entry.eax = apic_id;
            entry.ebx = (apic_id / threads) | (threads - 1) << 8;
            entry.ecx = 0;
        }
        _ => {}
    }
}

/// The bits of EAX, EBX, ECX, EDX in a leaf that say which vCPU this is and how its machine is built. Others can be changed after
/// [`normalise`]; what would change these has to change the machine.
#[must_use]
pub fn machine_bits(function: u32) -> [u32; 4] {
    const ALL: u32 = u32::MAX;
    match function {
        // OSXSAVE is what the guest makes it.
        FEATURES => [0, 0xffff_0000, ECX_OSXSAVE, EDX_HTT],
        CACHES_INTEL => [0xffff_c000, 0, 0, 0],
        TOPOLOGY | TOPOLOGY_V2 => [ALL; 4],
        FEATURES_EXTENDED => [0, 0, ECX_CMP_LEGACY, 0],
        SIZES_AMD => [0, 0, 0xffff, 0],
        CACHES_AMD => [0x03ff_c000, 0, 0, 0],
        TOPOLOGY_AMD => [ALL, ALL, ALL, 0],
        _ => [0; 4],
    }
}

/// The levels of leaf 0xb or 0x1f: threads of a core, threads of the package, and the end.
fn topology_leaf(function: u32, index: u8, topology: Topology) -> [kvm_cpuid_entry2; 3] {
    let level = |subleaf: u32, shift: u32, count: u32, kind: u32| kvm_cpuid_entry2 {
        function,
        index: subleaf,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: count,
        ecx: kind << 8 | subleaf,
        edx: u32::from(topology.apic_id(index)),
        ..kvm_cpuid_entry2::default()
    };
    [
        level(
            0,
            topology.thread_bits(),
            u32::from(topology.threads_per_core()),
            LEVEL_THREAD,
        ),
        level(
            1,
            topology.package_bits(),
            u32::from(topology.vcpus()),
            LEVEL_CORE,
        ),
        level(2, 0, 0, 0),
    ]
}

fn set(register: &mut u32, bit: u32, on: bool) {
    if on {
        *register |= bit;
    } else {
        *register &= !bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, index: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            function,
            index,
            eax: 0x21,
            ..kvm_cpuid_entry2::default()
        }
    }

    fn find(cpuid: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
        let found = |entry: &&kvm_cpuid_entry2| entry.function == function && entry.index == index;
        *cpuid.as_slice().iter().find(found).expect("the leaf")
    }

    #[test]
    fn every_vcpu_has_its_own_apic_id_in_every_leaf_that_names_it() {
        let functions = [
            FEATURES,
            CACHES_INTEL,
            TOPOLOGY,
            FEATURES_EXTENDED,
            SIZES_AMD,
            TOPOLOGY_AMD,
        ];
        let leaves: Vec<_> = functions.map(|function| leaf(function, 0)).to_vec();
        let supported = CpuId::from_entries(&leaves).expect("entries");
        for (vcpus, smt) in [(1, false), (2, false), (6, true), (32, false)] {
            let topology = Topology::new(vcpus, smt);
            for index in 0..vcpus {
                let cpuid =
                    normalise(&supported, index, topology, Host::default()).expect("entries");
                let id = u32::from(index);
                assert_eq!(find(&cpuid, FEATURES, 0).ebx >> 24, id);
                assert_eq!(find(&cpuid, TOPOLOGY, 0).edx, id);
                assert_eq!(find(&cpuid, TOPOLOGY, 1).ebx, u32::from(vcpus));
                assert_eq!(find(&cpuid, TOPOLOGY_AMD, 0).eax, id);
                assert_eq!(find(&cpuid, FEATURES, 0).edx & EDX_HTT != 0, vcpus > 1);
                assert!(1 << find(&cpuid, TOPOLOGY, 1).eax >= u32::from(vcpus));
            }
        }
    }

    /// What differs between machines and vCPUs is said to be theirs, and no more than that.
    #[test]
    fn the_bits_of_the_machine_are_those_that_differ() {
        let functions = [
            FEATURES,
            CACHES_INTEL,
            TOPOLOGY,
            FEATURES_EXTENDED,
            SIZES_AMD,
            CACHES_AMD,
            TOPOLOGY_AMD,
        ];
        let leaves: Vec<_> = functions.map(|function| leaf(function, 0)).to_vec();
        let supported = CpuId::from_entries(&leaves).expect("entries");
        let list = |vcpus, smt, index| {
            let topology = Topology::new(vcpus, smt);
            normalise(&supported, index, topology, Host::default()).expect("entries")
        };
        let registers = |leaf: kvm_cpuid_entry2| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx];
        let (small, large) = (list(1, false, 0), list(32, true, 31));
        for function in functions {
            let small = registers(find(&small, function, 0));
            let large = registers(find(&large, function, 0));
            let bits = machine_bits(function);
            for ((small, large), bits) in small.into_iter().zip(large).zip(bits) {
                assert_eq!((small ^ large) & !bits, 0, "leaf {function:#x}");
            }
        }
        assert_eq!(machine_bits(7), [0; 4]);
    }

    #[test]
    fn features_that_need_hypercalls_are_hidden_and_the_clock_is_not() {
        let mut features = leaf(KVM_FEATURES, 0);
        features.eax = u32::MAX;
        let supported = CpuId::from_entries(&[features]).expect("entries");
        let cpuid =
            normalise(&supported, 0, Topology::new(2, false), Host::default()).expect("entries");
        let features = find(&cpuid, KVM_FEATURES, 0).eax;
        assert_eq!(features & BY_HYPERCALL, 0);
        assert_eq!(features | BY_HYPERCALL, u32::MAX);
    }

    #[test]
    fn frequencies_are_those_of_the_host() {
        let intel = kvm_cpuid_entry2 {
            ebx: u32::from_le_bytes(*b"Genu"),
            ..leaf(0, 0)
        };
        let supported =
            CpuId::from_entries(&[intel, leaf(HYPERVISOR, 0), leaf(0x15, 0)]).expect("entries");
        let host = |tsc_khz| Host {
            tsc_khz,
            ..Host::default()
        };
        let one = Topology::new(1, false);
        let cpuid = normalise(&supported, 0, one, host(Some(2_596_138))).expect("entries");
        let timing = find(&cpuid, TIMING, 0);
        assert_eq!((timing.eax, timing.ebx), (2_596_138, 1_000_000));
        assert!(find(&cpuid, HYPERVISOR, 0).eax >= TIMING);
        assert!(find(&cpuid, 0, 0).eax >= CPU_FREQUENCY);
        // Intel SDM: TSC frequency = ECX * EBX / EAX.
        let tsc = find(&cpuid, TSC_FREQUENCY, 0);
        let hertz = u64::from(tsc.ecx) * u64::from(tsc.ebx) / u64::from(tsc.eax);
        assert_eq!(hertz, 2_596_138_000);
        let count = |function| {
            let leaves = cpuid.as_slice().iter();
            leaves.filter(|entry| entry.function == function).count()
        };
        assert_eq!(count(TSC_FREQUENCY), 1);

        let cpuid = normalise(&supported, 0, one, host(None)).expect("entries");
        assert!(
            cpuid
                .as_slice()
                .iter()
                .all(|entry| entry.function != TIMING)
        );
    }

    #[test]
    fn amd_is_known_by_its_name() {
        let named = |name: &[u8; 12]| {
            let (words, _) = name.as_chunks::<4>();
            let [ebx, edx, ecx] = [words[0], words[1], words[2]].map(u32::from_le_bytes);
            let leaf = kvm_cpuid_entry2 {
                ebx,
                ecx,
                edx,
                ..leaf(0, 0)
            };
            is_amd(&CpuId::from_entries(&[leaf]).expect("an entry"))
        };
        assert!(named(b"AuthenticAMD"));
        assert!(!named(b"GenuineIntel"));
    }

    #[test]
    fn xsave_is_not_in_use_before_the_guest_says_so() {
        let host = kvm_cpuid_entry2 {
            ecx: ECX_OSXSAVE,
            ..leaf(FEATURES, 0)
        };
        let supported = CpuId::from_entries(&[host]).expect("entries");
        let cpuid = normalise(&supported, 0, Topology::new(1, false), Host::default());
        let entry = find(&cpuid.expect("entries"), FEATURES, 0);
        assert_eq!(entry.ecx & ECX_OSXSAVE, 0);
    }

    #[test]
    fn the_deadline_timer_is_offered_where_kvm_has_it() {
        let supported = CpuId::from_entries(&[leaf(FEATURES, 0)]).expect("entries");
        for tsc_deadline in [false, true] {
            let cpuid = normalise(
                &supported,
                0,
                Topology::new(1, false),
                Host {
                    tsc_deadline,
                    ..Host::default()
                },
            )
            .expect("entries");
            assert_eq!(
                find(&cpuid, FEATURES, 0).ecx & ECX_TSC_DEADLINE != 0,
                tsc_deadline
            );
        }
    }
}
