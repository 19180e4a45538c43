//! Instructions, tried one by one at CPL 0.

use std::collections::BTreeMap;

use hull_vm_api::profile::{Finding, Instruction};

use super::ProbeError;
use super::guest::{ANSWER, MicroGuest, Outcome};
use super::state::Level;

/// An output register of CPUID, as the second byte of `mov eax, register`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Register {
    Eax = 0xc0,
    Ebx = 0xd8,
    Ecx = 0xc8,
    Edx = 0xd0,
}

/// A feature bit: leaf, index, register, bit.
type Feature = (u32, u32, Register, u8);

/// What has to be set up before the instruction.
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    /// A bit in CR4.
    Cr4(u8),
    /// CR4.OSXSAVE, and this in XCR0.
    Xcr0(u8),
}

struct Trial {
    instruction: Instruction,
    feature: Option<Feature>,
    before: Before,
    code: &'static [u8],
}

const fn trial(
    instruction: Instruction,
    feature: Option<Feature>,
    before: Before,
    code: &'static [u8],
) -> Trial {
    Trial {
        instruction,
        feature,
        before,
        code,
    }
}

const OSXSAVE: u8 = 18;
const FSGSBASE: u8 = 16;
/// XCR0 with x87 and SSE; with AVX too.
const SSE_STATE: u8 = 3;
const AVX_STATE: u8 = 7;
/// `iretq`.
const RETURN: [u8; 2] = [0x48, 0xcf];

use Before::{Cr4, Nothing, Xcr0};
use Instruction as I;
use Register::{Eax, Ebx, Ecx, Edx};

const XSAVE_FEATURE: Option<Feature> = Some((1, 0, Ecx, 26));

/// Memory operands are `[rsi]`, 4 KiB of zeroes.
const TRIALS: [Trial; 31] = [
    trial(I::Int3, None, Nothing, &[0xcc]),
    trial(I::Fwait, None, Nothing, &[0x9b]),
    trial(I::Fxsave, None, Nothing, &[0x0f, 0xae, 0x06]),
    trial(I::Movups, None, Nothing, &[0x0f, 0x10, 0x06]),
    trial(I::Swapgs, None, Nothing, &[0x0f, 0x01, 0xf8]),
    trial(
        I::Clflush,
        Some((1, 0, Edx, 19)),
        Nothing,
        &[0x0f, 0xae, 0x3e],
    ),
    trial(
        I::Clflushopt,
        Some((7, 0, Ebx, 23)),
        Nothing,
        &[0x66, 0x0f, 0xae, 0x3e],
    ),
    trial(
        I::Clwb,
        Some((7, 0, Ebx, 24)),
        Nothing,
        &[0x66, 0x0f, 0xae, 0x36],
    ),
    trial(
        I::Cmpxchg16b,
        Some((1, 0, Ecx, 13)),
        Nothing,
        &[0x48, 0x0f, 0xc7, 0x0e],
    ),
    trial(
        I::Popcnt,
        Some((1, 0, Ecx, 23)),
        Nothing,
        &[0xf3, 0x0f, 0xb8, 0xc3],
    ),
    trial(
        I::Movbe,
        Some((1, 0, Ecx, 22)),
        Nothing,
        &[0x0f, 0x38, 0xf0, 0x06],
    ),
    trial(I::Clac, Some((7, 0, Ebx, 20)), Nothing, &[0x0f, 0x01, 0xca]),
    trial(I::Stac, Some((7, 0, Ebx, 20)), Nothing, &[0x0f, 0x01, 0xcb]),
    trial(
        I::Andn,
        Some((7, 0, Ebx, 3)),
        Nothing,
        &[0xc4, 0xe2, 0x60, 0xf2, 0xc1],
    ),
    trial(
        I::Rorx,
        Some((7, 0, Ebx, 8)),
        Nothing,
        &[0xc4, 0xe3, 0x7b, 0xf0, 0xc3, 1],
    ),
    trial(I::Xsetbv, XSAVE_FEATURE, Xcr0(SSE_STATE), &[]),
    trial(
        I::Xsave,
        XSAVE_FEATURE,
        Xcr0(SSE_STATE),
        &[0x0f, 0xae, 0x26],
    ),
    trial(
        I::Xrstor,
        XSAVE_FEATURE,
        Xcr0(SSE_STATE),
        &[0x0f, 0xae, 0x2e],
    ),
    trial(
        I::Xsaveopt,
        Some((0xd, 1, Eax, 0)),
        Xcr0(SSE_STATE),
        &[0x0f, 0xae, 0x36],
    ),
    trial(
        I::Xsavec,
        Some((0xd, 1, Eax, 1)),
        Xcr0(SSE_STATE),
        &[0x0f, 0xc7, 0x26],
    ),
    trial(
        I::Vzeroupper,
        Some((1, 0, Ecx, 28)),
        Xcr0(AVX_STATE),
        &[0xc5, 0xf8, 0x77],
    ),
    trial(
        I::Vpxor,
        Some((7, 0, Ebx, 5)),
        Xcr0(AVX_STATE),
        &[0xc5, 0xfd, 0xef, 0xc0],
    ),
    trial(
        I::Rdrand,
        Some((1, 0, Ecx, 30)),
        Nothing,
        &[0x0f, 0xc7, 0xf0],
    ),
    trial(
        I::Rdseed,
        Some((7, 0, Ebx, 18)),
        Nothing,
        &[0x0f, 0xc7, 0xf8],
    ),
    trial(
        I::Rdtscp,
        Some((0x8000_0001, 0, Edx, 27)),
        Nothing,
        &[0x0f, 0x01, 0xf9],
    ),
    // mov eax, 2 (everything); invpcid rax, [rsi]
    trial(
        I::Invpcid,
        Some((7, 0, Ebx, 10)),
        Nothing,
        &[0xb8, 2, 0, 0, 0, 0x66, 0x0f, 0x38, 0x82, 0x06],
    ),
    trial(
        I::Rdfsbase,
        Some((7, 0, Ebx, 0)),
        Cr4(FSGSBASE),
        &[0xf3, 0x48, 0x0f, 0xae, 0xc0],
    ),
    trial(I::Cr4Smep, Some((7, 0, Ebx, 7)), Cr4(20), &[]),
    trial(I::Cr4Smap, Some((7, 0, Ebx, 20)), Cr4(21), &[]),
    trial(I::Cr4Umip, Some((7, 0, Ecx, 2)), Cr4(11), &[]),
    trial(I::Cr4Pcide, Some((1, 0, Ecx, 17)), Cr4(17), &[]),
];

/// Tries all that the guest sees.
pub(super) fn try_all(
    guest: &mut MicroGuest,
) -> Result<BTreeMap<Instruction, Finding>, ProbeError> {
    let mut seen = Features::default();
    let mut findings = BTreeMap::new();
    for trial in &TRIALS {
        let offered = match trial.feature {
            Some(feature) => seen.has(guest, feature)?,
            None => true,
        };
        let finding = if offered {
            attempt(guest, trial)?
        } else {
            Finding::Absent
        };
        findings.insert(trial.instruction, finding);
    }
    Ok(findings)
}

/// What CPUID says in a guest, at CPL 0 or CPL 3: a KVM may show more there than it lists, and what is seen is used.
#[derive(Default)]
struct Features {
    registers: BTreeMap<(u32, u32, Register), u32>,
}

impl Features {
    fn has(&mut self, guest: &mut MicroGuest, feature: Feature) -> Result<bool, ProbeError> {
        let (function, index, register, bit) = feature;
        let key = (function, index, register);
        let value = match self.registers.get(&key) {
            Some(value) => *value,
            None => {
                let kernel = cpuid(guest, Level::Kernel, function, index, register)?;
                let value = kernel | cpuid(guest, Level::User, function, index, register)?;
                self.registers.insert(key, value);
                value
            }
        };
        Ok(value >> bit & 1 == 1)
    }
}

/// One register of what CPUID gives in the guest; 0 if it gives nothing.
pub(super) fn cpuid(
    guest: &mut MicroGuest,
    level: Level,
    function: u32,
    index: u32,
    register: Register,
) -> Result<u32, ProbeError> {
    // mov eax, function; mov ecx, index; cpuid; mov eax, register; out.
    let mut program = vec![0xb8];
    program.extend(function.to_le_bytes());
    program.push(0xb9);
    program.extend(index.to_le_bytes());
    program.extend([0x0f, 0xa2, 0x89, register as u8]);
    program.extend(ANSWER);
    Ok(match guest.run(level, &program)? {
        Outcome::Answer(value) => value,
        Outcome::Failed(_) => 0,
    })
}

/// What one run answers if it comes to its end.
const DONE: u8 = 0x5a;

fn attempt(guest: &mut MicroGuest, trial: &Trial) -> Result<Finding, ProbeError> {
    let mut program = prepare(trial.before);
    program.extend(trial.code);
    // mov eax, DONE; out.
    program.extend([0xb8, DONE, 0, 0, 0]);
    program.extend(ANSWER);
    let outcome = match trial.instruction {
        Instruction::Int3 => guest.run_with_handler(Level::Kernel, &program, &RETURN, &[])?,
        _ => guest.run(Level::Kernel, &program)?,
    };
    Ok(match outcome {
        Outcome::Answer(answer) if answer == u32::from(DONE) => Finding::Works,
        Outcome::Answer(_) => Finding::Fails,
        Outcome::Failed(why) => {
            tracing::debug!("{:?} at CPL 0: {why}", trial.instruction);
            Finding::Fails
        }
    })
}

fn prepare(before: Before) -> Vec<u8> {
    // mov rax, cr4; bts eax, bit; mov cr4, rax.
    let cr4 = |bit: u8| vec![0x0f, 0x20, 0xe0, 0x0f, 0xba, 0xe8, bit, 0x0f, 0x22, 0xe0];
    match before {
        Nothing => Vec::new(),
        Cr4(bit) => cr4(bit),
        Xcr0(state) => {
            let mut code = cr4(OSXSAVE);
            // xor ecx, ecx; xor edx, edx; mov eax, state; xsetbv. EDX:EAX is then the mask for what follows.
            code.extend([
                0x31, 0xc9, 0x31, 0xd2, 0xb8, state, 0, 0, 0, 0x0f, 0x01, 0xd1,
            ]);
            code
        }
    }
}
