//! The XSAVE area in its standard format (Intel SDM volume 1, section 13.4), and the rules of XSAVE and XRSTOR about it.
//!
//! KVM hands out a vCPU's state in the same format, so one type serves for both ends of the copy.

use std::arch::x86_64::__cpuid_count;
use std::ops::Range;

use kvm_bindings::kvm_xsave;

use super::Fault;

/// State components with a place of their own in the legacy region.
const X87: u64 = 1;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;

const MXCSR: Range<usize> = 24..28;
const MXCSR_AND_MASK: Range<usize> = 24..32;
/// Control, status, tag and opcode, and the pointers of the last instruction.
const X87_ENVIRONMENT: Range<usize> = 0..24;
const X87_REGISTERS: Range<usize> = 32..160;
const SSE_REGISTERS: Range<usize> = 160..416;
/// Which components the area holds.
const XSTATE_BV: Range<usize> = 512..520;
/// The compacted format, which KVM's guests are not offered, and what must be zero.
const XCOMP_BV_AND_RESERVED: Range<usize> = 520..536;
/// Where the header ends and the other components may begin.
const LEGACY_AND_HEADER: usize = 576;

/// What XRSTOR loads where a component is not held: FCW, and MXCSR's reserved bits.
const INITIAL_FCW: [u8; 2] = 0x037f_u16.to_le_bytes();
const MXCSR_RESERVED: u32 = 0xffff_0000;

/// An XSAVE area, at least as long as header and legacy region.
#[derive(Debug)]
pub(super) struct Area<'a> {
    bytes: &'a mut [u8],
}

impl<'a> Area<'a> {
    /// The least alignment, in bytes.
    pub(super) const ALIGN: u64 = 64;

    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes }
    }

    /// A vCPU's state as KVM has it.
    #[allow(unsafe_code)]
    pub(super) fn of(state: &'a mut kvm_xsave) -> Self {
        let words: &mut [u32] = &mut state.region;
        let length = size_of_val(words);
        // SAFETY: the same memory as bytes, which any value of is valid, for as long as the words are borrowed.
        let bytes = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), length) };
        Self { bytes }
    }

    /// XSAVE: puts the components `wanted` of `registers` into this area, and leaves the others alone.
    pub(super) fn save(&mut self, registers: &Area<'_>, wanted: u64) {
        for part in registers_of(wanted) {
            self.copy(registers, part);
        }
        if wanted & (SSE | AVX) != 0 {
            self.copy(registers, MXCSR_AND_MASK);
        }
        let held = self.held() & !wanted | registers.held() & wanted;
        self.set_held(held);
    }

    /// XRSTOR: these are the registers, and the components `wanted` are loaded from `image`, those that it does not hold with
    /// their initial values.
    pub(super) fn restore(
        &mut self,
        image: &Area<'_>,
        wanted: u64,
        enabled: u64,
    ) -> Result<(), Fault> {
        let reserved = image.bytes.get(XCOMP_BV_AND_RESERVED).unwrap_or_default();
        if image.held() & !enabled != 0 || reserved.iter().any(|byte| *byte != 0) {
            return Err(Fault::GeneralProtection);
        }
        if wanted & (SSE | AVX) != 0 && image.mxcsr() & MXCSR_RESERVED != 0 {
            return Err(Fault::GeneralProtection);
        }
        for part in registers_of(image.held() & wanted) {
            self.copy(image, part);
        }
        // MXCSR is loaded whether the registers that belong to it are held or not.
        if wanted & (SSE | AVX) != 0 {
            self.copy(image, MXCSR);
        }
        for part in registers_of(wanted & !image.held()) {
            self.clear(part);
        }
        if wanted & !image.held() & X87 != 0
            && let Some(control) = self.bytes.get_mut(..2)
        {
            control.copy_from_slice(&INITIAL_FCW);
        }
        let held = self.held() & !wanted | image.held() & wanted;
        // KVM takes MXCSR only with the vector registers.
        let held = held | wanted & SSE;
        self.set_held(held);
        Ok(())
    }

    fn held(&self) -> u64 {
        let bytes = self.bytes.get(XSTATE_BV).and_then(|b| b.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    }

    fn set_held(&mut self, held: u64) {
        if let Some(place) = self.bytes.get_mut(XSTATE_BV) {
            place.copy_from_slice(&held.to_le_bytes());
        }
    }

    fn mxcsr(&self) -> u32 {
        let bytes = self.bytes.get(MXCSR).and_then(|b| b.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    }

    fn copy(&mut self, from: &Area<'_>, part: Range<usize>) {
        if let (Some(to), Some(from)) = (self.bytes.get_mut(part.clone()), from.bytes.get(part)) {
            to.copy_from_slice(from);
        }
    }

    fn clear(&mut self, part: Range<usize>) {
        if let Some(part) = self.bytes.get_mut(part) {
            part.fill(0);
        }
    }
}

/// The length of an area that holds `components`, in bytes.
pub(super) fn length(components: u64) -> usize {
    extended(components)
        .map(|part| part.end)
        .fold(LEGACY_AND_HEADER, usize::max)
}

/// Where `components` are in an area.
fn registers_of(components: u64) -> impl Iterator<Item = Range<usize>> {
    let x87 = (components & X87 != 0).then_some([X87_ENVIRONMENT, X87_REGISTERS]);
    let sse = (components & SSE != 0).then_some(SSE_REGISTERS);
    x87.into_iter()
        .flatten()
        .chain(sse)
        .chain(extended(components))
}

/// Components behind the header. Where they are is the processor's choice, which programs of the guest see, too.
fn extended(components: u64) -> impl Iterator<Item = Range<usize>> {
    (2..63_u32)
        .filter(move |component| components >> component & 1 != 0)
        .map(|component| {
            // SAFETY: every processor with XSAVE has the leaf, and KVM runs on no other that Hull's guests do.
            #[allow(unsafe_code, unused_unsafe)]
            let leaf = unsafe { __cpuid_count(0xd, component) };
            let start = usize::try_from(leaf.ebx).unwrap_or(usize::MAX);
            let length = usize::try_from(leaf.eax).unwrap_or(0);
            start..start.saturating_add(length)
        })
        .filter(|part| part.end <= size_of::<kvm_xsave>())
}
