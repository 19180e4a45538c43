//! The CPU templates that Firecracker has built in: what each hides of an Intel or AMD processor so that several models look alike.
//!
//! Source: Firecracker's `docs/cpu_templates/cpu-templates.md` and the dumps of EC2 instances that its templates are made by;
//! the names of the bits are the Intel SDM's (volume 2A, CPUID; volume 4, `IA32_ARCH_CAPABILITIES`) and the AMD APM's (volume 3,
//! appendix E).

use hull_vm_api::config::CpuTemplate;
use hull_vm_api::config::cpu::CpuidRegister::{self, Eax, Ebx, Ecx, Edx};

use super::template::{CpuidChange, MsrChange, Template, TemplateError};

/// `IA32_ARCH_CAPABILITIES`: which weaknesses the processor does not have.
const ARCH_CAPABILITIES: u32 = 0x10a;

/// Family, model and stepping as CPUID has them.
const SIGNATURE: u32 = 0x0fff_3fff;
/// Haswell (T2) and Ivy Bridge (C3).
const HASWELL: u32 = 0x306f2;
const IVY_BRIDGE: u32 = 0x306e4;

/// Processors that a template is safe on: what leaf 1 has in EAX.
const SKYLAKE: (u32, &str) = (0x50654, "Skylake");
const CASCADE_LAKE: (u32, &str) = (0x50657, "Cascade Lake");
const ICE_LAKE: (u32, &str) = (0x606a6, "Ice Lake");
const MILAN: (u32, &str) = (0x00a0_0f11, "Milan");

/// A leaf's register, and its bits that are cleared and set, by number.
struct Row(u32, u32, CpuidRegister, &'static [u32], &'static [u32]);

/// All of them, but for the signature.
const T2: [Row; 7] = [
    // DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, CNXT-ID, SDBG, xTPR, PDCM, DCA.
    Row(1, 0, Ecx, &[2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 18], &[]),
    // PSN, DS, ACPI, SS, TM, IA-64, PBE; MCE and MTRR are there.
    Row(1, 0, Edx, &[18, 21, 22, 27, 29, 30, 31], &[7, 12]),
    // SGX, HLE, RTM, both parts of RDT, MPX, RDSEED, ADX, PCOMMIT, CLFLUSHOPT, CLWB, processor trace, SHA and all of AVX-512; ERMS
    // is there.
    Row(
        7,
        0,
        Ebx,
        &[
            2, 4, 11, 12, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
        ],
        &[9],
    ),
    // UMIP, PKU and OSPKE, GFNI, VAES, VPCLMULQDQ, LA57, RDPID, SGX_LC and more of AVX-512.
    Row(
        7,
        0,
        Ecx,
        &[1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 14, 16, 22, 30],
        &[],
    ),
    // The rest of AVX-512, and FSRM.
    Row(7, 0, Edx, &[2, 3, 4, 8], &[]),
    // The state of MPX, AVX-512 and PKRU.
    Row(0xd, 0, Eax, &[3, 4, 5, 6, 7, 9], &[]),
    // XSAVEC, XGETBV and XSAVES.
    Row(0xd, 1, Eax, &[1, 2, 3], &[]),
];

/// What T2 and T2S add: PREFETCHW, MONITORX, pages of 1 GiB, WBNOINVD.
const T2_EXTENDED: [Row; 3] = [
    Row(0x8000_0001, 0, Ecx, &[8, 29], &[]),
    Row(0x8000_0001, 0, Edx, &[26], &[]),
    Row(0x8000_0008, 0, Ebx, &[9], &[]),
];

/// What T2CL adds: the same, and what only AMD has (SSE4A, misaligned SSE, MMX extensions, FFXSR) and its reserved bits.
const T2CL_EXTENDED: [Row; 3] = [
    Row(0x8000_0001, 0, Ecx, &[6, 7, 8, 29], &[]),
    Row(0x8000_0001, 0, Edx, &[22, 23, 24, 25, 26], &[]),
    Row(0x8000_0008, 0, Ebx, &[9], &[]),
];

/// What T2A adds: the same for AMD, with SVM and CLZERO; how it does IBRS and keeps x87 pointers is always said alike.
const T2A_EXTENDED: [Row; 3] = [
    Row(0x8000_0001, 0, Ecx, &[2, 6, 7, 8, 29], &[]),
    Row(0x8000_0001, 0, Edx, &[22, 25, 26], &[]),
    Row(0x8000_0008, 0, Ebx, &[0, 9], &[2, 18, 19, 20]),
];

const C3: [Row; 9] = [
    // DTES64, MONITOR, DS-CPL, VMX, TM2, CNXT-ID, SDBG, FMA, xTPR, PDCM, MOVBE.
    Row(1, 0, Ecx, &[2, 3, 4, 5, 8, 10, 11, 12, 14, 15, 22], &[]),
    // PSN, DS, ACPI, SS, TM, PBE; MCE and MTRR are there.
    Row(1, 0, Edx, &[18, 21, 22, 27, 29, 31], &[7, 12]),
    // SGX, BMI1, HLE, AVX2, BMI2, INVPCID, RTM, both parts of RDT, MPX, RDSEED, ADX, CLFLUSHOPT, CLWB, processor trace, SHA, AVX-512.
    Row(
        7,
        0,
        Ebx,
        &[
            2, 3, 4, 5, 8, 10, 11, 12, 14, 15, 16, 17, 18, 19, 21, 23, 24, 25, 26, 27, 28, 29, 30,
            31,
        ],
        &[],
    ),
    // UMIP, PKU and OSPKE, LA57, RDPID, SGX_LC and more of AVX-512.
    Row(7, 0, Ecx, &[1, 2, 3, 4, 11, 14, 16, 22, 30], &[]),
    Row(7, 0, Edx, &[2, 3], &[]),
    // As with T2.
    Row(0xd, 0, Eax, &[3, 4, 5, 6, 7, 9], &[]),
    Row(0xd, 1, Eax, &[1, 2, 3], &[]),
    // LZCNT and PREFETCHW; pages of 1 GiB.
    Row(0x8000_0001, 0, Ecx, &[5, 8], &[]),
    Row(0x8000_0001, 0, Edx, &[26], &[]),
];

/// What T2S says of any processor: RSBA and RRSBA are there (so that the guest stuffs return buffers), it needs no flush of the L1
/// cache by the guest, is not affected by page size changes, GDS and RFDS, and VERW clears fill buffers; both package and
/// filtering controls exist.
const T2S_CAPABILITIES: MsrChange = MsrChange {
    address: ARCH_CAPABILITIES,
    mask: u64::MAX,
    value: bits64(&[2, 3, 6, 10, 11, 17, 19, 26, 27]),
};

/// What T2CL hides: what came after Cascade Lake (controls of microcode, package, energy and DOITM, FB_CLEAR_CTRL, BHI_NO and later).
const T2CL_CAPABILITIES: MsrChange = MsrChange {
    address: ARCH_CAPABILITIES,
    mask: !bits64(&[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 17, 19, 24, 26, 27, 28,
    ]),
    value: 0,
};

/// A template, and the processors that it is for.
struct Builtin {
    signature: u32,
    rows: [&'static [Row]; 2],
    msrs: &'static [MsrChange],
    amd: bool,
    models: &'static [(u32, &'static str)],
}

/// What the template does, on the processor whose leaf 1 has `signature` in EAX.
///
/// # Errors
/// If it is not for this processor: what it hides would not make it look like the others, and what it says of weaknesses might
/// not be true of it.
pub(super) fn template(
    template: CpuTemplate,
    amd: bool,
    signature: u32,
) -> Result<Template, TemplateError> {
    let Some(builtin) = builtin(template) else {
        return Ok(Template::default());
    };
    let vendor = |amd| if amd { "AMD" } else { "Intel" };
    let signature = signature & SIGNATURE;
    if builtin.amd != amd {
        return Err(TemplateError::Vendor {
            template,
            wanted: vendor(builtin.amd),
            there: vendor(amd),
        });
    }
    if builtin.models.iter().all(|(model, _)| *model != signature) {
        let names: Vec<_> = builtin.models.iter().map(|(_, name)| *name).collect();
        return Err(TemplateError::Model {
            template,
            models: names.join(", "),
            signature,
        });
    }
    Ok(Template::from(&builtin))
}

fn builtin(template: CpuTemplate) -> Option<Builtin> {
    let intel = |rows, msrs, models| Builtin {
        signature: HASWELL,
        rows,
        msrs,
        amd: false,
        models,
    };
    Some(match template {
        // The last is one for ARM, which no configuration has.
        CpuTemplate::None | CpuTemplate::V1N1 => return None,
        CpuTemplate::C3 => Builtin {
            signature: IVY_BRIDGE,
            ..intel([&C3, &[]], &[], &[SKYLAKE, CASCADE_LAKE, ICE_LAKE])
        },
        CpuTemplate::T2 => intel([&T2, &T2_EXTENDED], &[], &[SKYLAKE, CASCADE_LAKE, ICE_LAKE]),
        CpuTemplate::T2S => intel(
            [&T2, &T2_EXTENDED],
            &[T2S_CAPABILITIES],
            &[SKYLAKE, CASCADE_LAKE],
        ),
        CpuTemplate::T2CL => intel(
            [&T2, &T2CL_EXTENDED],
            &[T2CL_CAPABILITIES],
            &[CASCADE_LAKE, ICE_LAKE],
        ),
        CpuTemplate::T2A => Builtin {
            amd: true,
            ..intel([&T2, &T2A_EXTENDED], &[], &[MILAN])
        },
    })
}

impl From<&Builtin> for Template {
    fn from(builtin: &Builtin) -> Self {
        let signature = CpuidChange {
            leaf: 1,
            subleaf: 0,
            flags: None,
            register: Eax,
            mask: SIGNATURE,
            value: builtin.signature,
        };
        let rows = builtin.rows.iter().copied().flatten();
        let changes = rows.map(|Row(leaf, subleaf, register, clear, set)| CpuidChange {
            leaf: *leaf,
            subleaf: *subleaf,
            flags: None,
            register: *register,
            mask: bits(clear) | bits(set),
            value: bits(set),
        });
        Self {
            cpuid: std::iter::once(signature).chain(changes).collect(),
            msrs: builtin.msrs.to_vec(),
        }
    }
}

fn bits(numbers: &[u32]) -> u32 {
    numbers.iter().fold(0, |bits, number| bits | 1 << number)
}

const fn bits64(numbers: &[u32]) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < numbers.len() {
        bits |= 1_u64 << numbers[at];
        at += 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    type Masks = &'static [(u32, u32, CpuidRegister, u32, u32)];

    /// Leaf, subleaf, register, mask and value, in hexadecimal as Firecracker's own templates have them.
    const COMMON: Masks = &[
        (1, 0, Ecx, 0x4_cdfc, 0),
        (1, 0, Edx, 0xe864_1080, 0x1080),
        (7, 0, Ebx, 0xffef_da14, 0x200),
        (7, 0, Ecx, 0x4041_5f5e, 0),
        (7, 0, Edx, 0x11c, 0),
        (0xd, 0, Eax, 0x2f8, 0),
        (0xd, 1, Eax, 0xe, 0),
    ];
    const OF_C3: Masks = &[
        (1, 0, Ecx, 0x40_dd3c, 0),
        (1, 0, Edx, 0xa864_1080, 0x1080),
        (7, 0, Ebx, 0xffaf_dd3c, 0),
        (7, 0, Ecx, 0x4041_481e, 0),
        (7, 0, Edx, 0xc, 0),
        (0xd, 0, Eax, 0x2f8, 0),
        (0xd, 1, Eax, 0xe, 0),
        (0x8000_0001, 0, Ecx, 0x120, 0),
        (0x8000_0001, 0, Edx, 0x400_0000, 0),
    ];
    const OF_T2: Masks = &[
        (0x8000_0001, 0, Ecx, 0x2000_0100, 0),
        (0x8000_0001, 0, Edx, 0x400_0000, 0),
        (0x8000_0008, 0, Ebx, 0x200, 0),
    ];
    const OF_T2CL: Masks = &[
        (0x8000_0001, 0, Ecx, 0x2000_01c0, 0),
        (0x8000_0001, 0, Edx, 0x7c0_0000, 0),
        (0x8000_0008, 0, Ebx, 0x200, 0),
    ];
    const OF_T2A: Masks = &[
        (0x8000_0001, 0, Ecx, 0x2000_01c4, 0),
        (0x8000_0001, 0, Edx, 0x640_0000, 0),
        (0x8000_0008, 0, Ebx, 0x1c_0205, 0x1c_0004),
    ];

    #[test]
    fn the_tables_are_the_masks_of_firecracker() {
        let cases: [(CpuTemplate, bool, u32, u32, [Masks; 2]); 5] = [
            (CpuTemplate::C3, false, SKYLAKE.0, 0x306e4, [OF_C3, &[]]),
            (CpuTemplate::T2, false, ICE_LAKE.0, 0x306f2, [COMMON, OF_T2]),
            (CpuTemplate::T2S, false, SKYLAKE.0, 0x306f2, [COMMON, OF_T2]),
            (
                CpuTemplate::T2CL,
                false,
                CASCADE_LAKE.0,
                0x306f2,
                [COMMON, OF_T2CL],
            ),
            (CpuTemplate::T2A, true, MILAN.0, 0x306f2, [COMMON, OF_T2A]),
        ];
        for (name, amd, model, signature, masks) in cases {
            let made = template(name, amd, model).unwrap();
            let made = made.cpuid.iter();
            let made = made.map(|c| (c.leaf, c.subleaf, c.register, c.mask, c.value));
            let first = (1, 0, Eax, 0xfff_3fff, signature);
            let masks = std::iter::once(&first).chain(masks.into_iter().flatten());
            assert!(made.eq(masks.copied()), "{name:?}");
        }
        let msrs = |name, model| template(name, false, model).unwrap().msrs;
        let [t2s] = msrs(CpuTemplate::T2S, SKYLAKE.0)[..] else {
            panic!("T2S changes one MSR");
        };
        assert_eq!((t2s.mask, t2s.value), (u64::MAX, 0xc0a_0c4c));
        let [t2cl] = msrs(CpuTemplate::T2CL, ICE_LAKE.0)[..] else {
            panic!("T2CL changes one MSR");
        };
        assert_eq!((t2cl.mask, t2cl.value), (0xffff_ffff_e2f5_1e00, 0));
    }

    #[test]
    fn a_template_is_refused_on_a_processor_that_it_is_not_for() {
        let refusal = |name, amd, model| template(name, amd, model).unwrap_err().to_string();
        let vendor = refusal(CpuTemplate::T2A, false, SKYLAKE.0);
        assert!(
            vendor.contains("T2A is for processors of AMD, and this one is of Intel"),
            "{vendor}"
        );
        let vendor = refusal(CpuTemplate::T2CL, true, MILAN.0);
        assert!(
            vendor.contains("of Intel, and this one is of AMD"),
            "{vendor}"
        );
        // Skylake, and a processor that nobody knew of then.
        for model in [SKYLAKE.0, 0xc06f2] {
            let sentence = refusal(CpuTemplate::T2CL, false, model);
            assert!(sentence.contains("Cascade Lake, Ice Lake"), "{sentence}");
        }
        assert_eq!(
            template(CpuTemplate::None, false, 0).unwrap(),
            Template::default()
        );
    }
}
