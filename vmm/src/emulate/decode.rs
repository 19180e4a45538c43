//! From the bytes of an instruction to what it does and where: only those of this module's parent, in 64-bit mode.

use kvm_bindings::{kvm_regs, kvm_sregs};

/// What an instruction does, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// XSAVE64, and XSAVEOPT64, which may save more than it must. The linear address of its operand.
    Save(u64),
    /// XRSTOR64. The linear address of its operand.
    Restore(u64),
    /// LSL of a register, with the number of the one that the limit is for.
    SegmentLimit { selector: u16, target: u8 },
}

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) operation: Operation,
    /// In bytes.
    pub(super) length: u64,
}

/// Reads bytes from the front.
struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.all.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    /// A displacement of one byte, extended by its sign.
    fn byte(&mut self) -> Option<u64> {
        let value = i64::from(self.next()?.cast_signed());
        Some(value.cast_unsigned())
    }

    /// The same of four.
    fn word(&mut self) -> Option<u64> {
        let bytes = [self.next()?, self.next()?, self.next()?, self.next()?];
        Some(i64::from(i32::from_le_bytes(bytes)).cast_unsigned())
    }
}

/// The instruction at the beginning of `code`; `None` if it is not one of those known here.
pub(super) fn decode(code: &[u8], regs: &kvm_regs, sregs: &kvm_sregs) -> Option<Instruction> {
    let mut bytes = Bytes { all: code, at: 0 };
    let mut base = 0;
    let rex = loop {
        match bytes.next()? {
            // Segments other than FS and GS have no base in 64-bit mode.
            0x26 | 0x2e | 0x36 | 0x3e => base = 0,
            0x64 => base = sregs.fs.base,
            0x65 => base = sregs.gs.base,
            // The 32-bit forms of these instructions keep other pointers of the x87: kernels use the 64-bit ones.
            rex @ 0x48..=0x4f => break rex,
            _ => return None,
        }
    };
    let opcode = (bytes.next()?, bytes.next()?);
    let modrm = bytes.next()?;
    let is_register = modrm >> 6 == 3;
    if opcode == (0x0f, 0x03) && is_register {
        let [low, high, ..] = register(regs, modrm & 7 | (rex & 1) << 3).to_le_bytes();
        let operation = Operation::SegmentLimit {
            selector: u16::from_le_bytes([low, high]),
            target: modrm >> 3 & 7 | (rex & 4) << 1,
        };
        let length = u64::try_from(bytes.at).ok()?;
        return Some(Instruction { operation, length });
    }
    let operation = match (opcode, modrm >> 3 & 7) {
        _ if is_register => return None,
        ((0x0f, 0xae), 4 | 6) => Operation::Save,
        ((0x0f, 0xae), 5) => Operation::Restore,
        _ => return None,
    };
    let offset = effective(&mut bytes, rex, modrm, regs)?;
    let length = u64::try_from(bytes.at).ok()?;
    let address = match offset {
        Offset::Absolute(address) => base.wrapping_add(address),
        Offset::AfterInstruction(distance) => base
            .wrapping_add(regs.rip)
            .wrapping_add(length)
            .wrapping_add(distance),
    };
    Some(Instruction {
        operation: operation(address),
        length,
    })
}

enum Offset {
    Absolute(u64),
    AfterInstruction(u64),
}

/// The operand's address as ModRM, SIB and displacement have it (Intel SDM volume 2, section 2.1.5).
fn effective(bytes: &mut Bytes<'_>, rex: u8, modrm: u8, regs: &kvm_regs) -> Option<Offset> {
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let mut address = 0_u64;
    if rm == 4 {
        let sib = bytes.next()?;
        let index = sib >> 3 & 7 | (rex & 2) << 2;
        if index != 4 {
            address = register(regs, index) << (sib >> 6);
        }
        if sib & 7 == 5 && mode == 0 {
            return Some(Offset::Absolute(address.wrapping_add(bytes.word()?)));
        }
        let base = register(regs, sib & 7 | (rex & 1) << 3);
        address = address.wrapping_add(base);
    } else if rm == 5 && mode == 0 {
        return Some(Offset::AfterInstruction(bytes.word()?));
    } else {
        address = register(regs, rm | (rex & 1) << 3);
    }
    let displacement = match mode {
        1 => bytes.byte()?,
        2 => bytes.word()?,
        _ => 0,
    };
    Some(Offset::Absolute(address.wrapping_add(displacement)))
}

/// A general register by its number in instructions.
fn register(regs: &kvm_regs, number: u8) -> u64 {
    // A copy, since a place is only had of what can be changed.
    let mut regs = *regs;
    *place(&mut regs, number)
}

/// Changes a general register, by its number in instructions.
pub(super) fn set_register(regs: &mut kvm_regs, number: u8, value: u64) {
    *place(regs, number) = value;
}

fn place(regs: &mut kvm_regs, number: u8) -> &mut u64 {
    match number {
        0 => &mut regs.rax,
        1 => &mut regs.rcx,
        2 => &mut regs.rdx,
        3 => &mut regs.rbx,
        4 => &mut regs.rsp,
        5 => &mut regs.rbp,
        6 => &mut regs.rsi,
        7 => &mut regs.rdi,
        8 => &mut regs.r8,
        9 => &mut regs.r9,
        10 => &mut regs.r10,
        11 => &mut regs.r11,
        12 => &mut regs.r12,
        13 => &mut regs.r13,
        14 => &mut regs.r14,
        _ => &mut regs.r15,
    }
}
