//! From the bytes of an instruction to what it does and where: only those of this module's parent, in 64-bit mode.

use kvm_bindings::{kvm_regs, kvm_sregs};

/// What an instruction does with the extended state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// XSAVE64, and XSAVEOPT64, which may save more than it must.
    Save,
    /// XRSTOR64.
    Restore,
}

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) operation: Operation,
    /// The linear address of its operand.
    pub(super) address: u64,
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
    let operation = match (opcode, modrm >> 3 & 7) {
        _ if modrm >> 6 == 3 => return None,
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
        operation,
        address,
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
    match number {
        0 => regs.rax,
        1 => regs.rcx,
        2 => regs.rdx,
        3 => regs.rbx,
        4 => regs.rsp,
        5 => regs.rbp,
        6 => regs.rsi,
        7 => regs.rdi,
        8 => regs.r8,
        9 => regs.r9,
        10 => regs.r10,
        11 => regs.r11,
        12 => regs.r12,
        13 => regs.r13,
        14 => regs.r14,
        _ => regs.r15,
    }
}
