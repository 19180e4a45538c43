//! What a host's KVM does with a guest's kernel, found out by trying, and what Linux has to be told because of it.
//!
//! `hull-vmm probe` makes it; the engine keeps it and puts [`HostProfile::kernel_args`] on the command line of guests.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What was found out about a host's KVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProfile {
    /// What runs a guest's kernel.
    pub backend: Backend,
    /// How fast a guest's kernel (CPL 0) runs: instructions of a loop in a second.
    pub kernel_instructions_per_second: u64,
    /// The same for a guest's programs (CPL 3).
    pub user_instructions_per_second: u64,
    /// What instructions do in a guest's kernel.
    pub instructions: BTreeMap<Instruction, Finding>,
    /// How a guest's programs enter its kernel.
    pub syscall: SyscallEntry,
    /// Whether a feature that is hidden by KVM_SET_CPUID2 stays hidden.
    pub cpuid_can_hide: bool,
    /// What leaving the guest costs.
    pub costs: Costs,
    /// How many vCPUs a machine can have here.
    pub max_vcpus: u32,
}

/// What runs a guest's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The processor, by Intel's virtualisation.
    VtX,
    /// The processor, by AMD's.
    AmdV,
    /// KVM's instruction emulator; only programs run on the processor.
    Emulated,
}

/// What an instruction does in a guest's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It is executed.
    Works,
    /// It faults or stops the machine, although KVM says that the processor has it.
    Fails,
    /// KVM does not offer it.
    Absent,
}

/// Instructions and control bits that a kernel uses if CPUID has them, by their names in the processor's manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instruction {
    Int3,
    Fwait,
    Fxsave,
    Movups,
    Swapgs,
    Clflush,
    Clflushopt,
    Clwb,
    Cmpxchg16b,
    Popcnt,
    Movbe,
    Clac,
    Stac,
    Andn,
    Rorx,
    Xsetbv,
    Xsave,
    Xrstor,
    Xsaveopt,
    Xsavec,
    Vzeroupper,
    Vpxor,
    Rdrand,
    Rdseed,
    Rdtscp,
    Invpcid,
    Rdfsbase,
    Cr4Smep,
    Cr4Smap,
    Cr4Umip,
    Cr4Pcide,
}

/// What `syscall` does at CPL 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyscallEntry {
    /// It enters the kernel at CPL 0, with the kernel's segments.
    Kernel,
    /// It goes to the kernel's entry, but stays at CPL 3. Hull's kernel puts that right; others do not boot.
    StaysUser,
    /// It does neither.
    Fails,
}

/// What leaving the guest costs, in nanoseconds; medians. `None` is "it does not work".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// OUT to user space, from CPL 0.
    pub out_kernel: Option<u64>,
    /// OUT to user space, from CPL 3.
    pub out_user: Option<u64>,
    /// CPUID at CPL 0.
    pub cpuid_kernel: Option<u64>,
    /// CPUID at CPL 3.
    pub cpuid_user: Option<u64>,
}

/// Features that Linux must not use if an instruction fails, by their names for `clearcpuid=`. XSAVE and XRSTOR in their
/// plain form are not among them: where KVM gives up at them the VMM carries them out. Nor are AVX and what is wider:
/// programs have them whatever their kernel does, so it must know them, to save and restore their registers.
const FEATURES: [(Instruction, &str); 23] = [
    (Instruction::Popcnt, "popcnt"),
    (Instruction::Cmpxchg16b, "cx16"),
    (Instruction::Xsetbv, "xsave"),
    (Instruction::Xsaveopt, "xsaveopt"),
    (Instruction::Xsavec, "xsavec"),
    (Instruction::Xsavec, "xsaves"),
    (Instruction::Xsave, "pku"),
    (Instruction::Andn, "bmi1"),
    (Instruction::Rorx, "bmi2"),
    (Instruction::Movbe, "movbe"),
    (Instruction::Clac, "smap"),
    (Instruction::Stac, "smap"),
    (Instruction::Cr4Smap, "smap"),
    (Instruction::Cr4Smep, "smep"),
    (Instruction::Cr4Umip, "umip"),
    (Instruction::Cr4Pcide, "pcid"),
    (Instruction::Invpcid, "invpcid"),
    (Instruction::Rdfsbase, "fsgsbase"),
    (Instruction::Rdtscp, "rdtscp"),
    (Instruction::Rdrand, "rdrand"),
    (Instruction::Rdseed, "rdseed"),
    (Instruction::Clflushopt, "clflushopt"),
    (Instruction::Clwb, "clwb"),
];
/// What Linux hides by itself when XSAVE is hidden.
const WITH_XSAVE: [&str; 4] = ["xsaveopt", "xsavec", "xsaves", "pku"];

/// Instructions of the vector unit and of the x87. If one fails the kernel must do without, while programs do not.
const VECTOR: [Instruction; 5] = [
    Instruction::Fwait,
    Instruction::Xsave,
    Instruction::Xrstor,
    Instruction::Vzeroupper,
    Instruction::Vpxor,
];

/// Features that cost an interpreted kernel more than they give: byte-wise string instructions, which the emulator walks
/// byte by byte, and protections against its own programs that its memory does not have there.
const SLOW_IF_INTERPRETED: [&str; 5] = ["erms", "fsrm", "smep", "umip", "pcid"];

impl HostProfile {
    /// Whether a guest's kernel is run by an emulator.
    #[must_use]
    pub fn interpreted(&self) -> bool {
        self.backend == Backend::Emulated
    }

    /// Whether an instruction was found to fail.
    #[must_use]
    pub fn fails(&self, instruction: Instruction) -> bool {
        self.instructions.get(&instruction) == Some(&Finding::Fails)
    }

    /// What a Linux guest needs on its command line here; nothing where the processor runs it and all works.
    ///
    /// As few arguments as can be: an interpreted kernel spends tens of milliseconds on each. So all features go into one.
    #[must_use]
    pub fn kernel_args(&self) -> String {
        let mut args: Vec<String> = Vec::new();
        if self.interpreted() {
            // An emulator is not open to the attacks against processors, and every measure against them is more to interpret.
            args.push("mitigations=off".to_owned());
            // Taking write permission from the kernel's text is a second of interpreting and remaking page tables.
            args.push("rodata=off".to_owned());
            // A hundred ticks a second would be a fifth of a busy vCPU's time (Hull's kernel only; others ignore it).
            args.push("tick_stride=5".to_owned());
        }
        if self.interpreted() && self.syscall == SyscallEntry::Kernel {
            // For other kernels, where they boot at all; Hull's own does not move itself.
            args.push("nokaslr".to_owned());
        }
        if VECTOR.iter().any(|instruction| self.fails(*instruction)) {
            // Hull's kernel only: no other boots where these fail.
            args.push("nokernelfpu".to_owned());
        }
        let features = self.hidden_features();
        if !features.is_empty() {
            args.push(format!("clearcpuid={}", features.join(",")));
        }
        args.join(" ")
    }

    /// Names for `clearcpuid=`, each once.
    fn hidden_features(&self) -> Vec<&'static str> {
        let failing = FEATURES
            .iter()
            .filter(|(instruction, _)| self.fails(*instruction));
        let mut names: Vec<&str> = failing.map(|(_, feature)| *feature).collect();
        if self.interpreted() {
            names.extend(SLOW_IF_INTERPRETED);
        }
        if names.contains(&"xsave") {
            names.retain(|name| !WITH_XSAVE.contains(name));
        }
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        names
    }

    /// The profile as JSON, with `kernel_args` beside the facts for whoever only needs that.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Report<'a> {
            kernel_args: String,
            #[serde(flatten)]
            profile: &'a HostProfile,
        }
        let report = Report {
            kernel_args: self.kernel_args(),
            profile: self,
        };
        serde_json::to_string_pretty(&report).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
