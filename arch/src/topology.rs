//! How the vCPUs of a machine form threads, cores and one package, and which APIC ids they have.

/// The largest number of vCPUs of one machine.
pub const MAX_VCPUS: u8 = 32;

/// One package of cores with one or two threads each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    vcpus: u8,
    smt: bool,
}

impl Topology {
    /// `vcpus` from 1 to [`MAX_VCPUS`], others are clamped. With `smt`, two neighbours share a core; one vCPU
    /// alone, or an odd number, has no pairs and is taken as without.
    #[must_use]
    pub fn new(vcpus: u8, smt: bool) -> Self {
        let vcpus = vcpus.clamp(1, MAX_VCPUS);
        Self {
            vcpus,
            smt: smt && vcpus.is_multiple_of(2),
        }
    }

    #[must_use]
    pub fn vcpus(self) -> u8 {
        self.vcpus
    }

    #[must_use]
    pub fn threads_per_core(self) -> u8 {
        if self.smt { 2 } else { 1 }
    }

    #[must_use]
    pub fn cores(self) -> u8 {
        self.vcpus / self.threads_per_core()
    }

    /// Bits of an APIC id that number the thread in its core.
    #[must_use]
    pub fn thread_bits(self) -> u32 {
        u32::from(self.smt)
    }

    /// Bits of an APIC id that number the thread in its package.
    #[must_use]
    pub fn package_bits(self) -> u32 {
        u32::from(self.vcpus).next_power_of_two().trailing_zeros()
    }

    /// The APIC id of vCPU `index`. Threads are pairs and cores follow each other, so that it is the index.
    #[must_use]
    pub fn apic_id(self, index: u8) -> u8 {
        index
    }

    /// The id of the I/O APIC: one that no vCPU has.
    #[must_use]
    pub fn ioapic_id(self) -> u8 {
        self.vcpus
    }
}
