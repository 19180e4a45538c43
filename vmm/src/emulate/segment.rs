//! LSL: the limit of a segment (Intel SDM volume 2). Linux keeps a CPU's number there, and looks for it when an NMI comes.

use kvm_bindings::kvm_sregs;

use super::Fault;
use super::paging::{Access, Pages};

/// A selector: its table is the local one, and the privilege that is asked for.
const LOCAL: u16 = 1 << 2;
const REQUESTED: u16 = 3;
/// A descriptor: of code or data, as opposed to the system's; the limit counts pages.
const CODE_OR_DATA: u64 = 1 << 44;
const PAGES: u64 = 1 << 55;

/// The last byte of a selector's segment, for a kernel; `None` if it has none that could be told.
pub(super) fn limit(
    selector: u16,
    sregs: &kvm_sregs,
    pages: &Pages<'_>,
) -> Result<Option<u64>, Fault> {
    let (base, last) = if selector & LOCAL == 0 {
        (sregs.gdt.base, u32::from(sregs.gdt.limit))
    } else {
        let last = if sregs.ldt.unusable == 0 {
            sregs.ldt.limit
        } else {
            0
        };
        (sregs.ldt.base, last)
    };
    let offset = selector & !(LOCAL | REQUESTED);
    let is_null = selector & !REQUESTED == 0;
    if is_null || u32::from(offset) + 7 > last {
        return Ok(None);
    }
    let mut descriptor = [0; 8];
    let place = base.wrapping_add(offset.into());
    pages.read(place, &mut descriptor, Access::Read)?;
    let descriptor = u64::from_le_bytes(descriptor);
    Ok(is_visible(descriptor, selector & REQUESTED).then(|| {
        let limit = descriptor & 0xffff | descriptor >> 32 & 0xf_0000;
        if descriptor & PAGES == 0 {
            limit
        } else {
            limit << 12 | 0xfff
        }
    }))
}

/// Whether a descriptor has a limit, and the requested privilege is enough for it.
fn is_visible(descriptor: u64, requested: u16) -> bool {
    let kind = descriptor >> 40 & 0xf;
    let privilege = descriptor >> 45 & 3;
    let may = u64::from(requested) <= privilege;
    if descriptor & CODE_OR_DATA == 0 {
        // A local table, and a task that is available or busy.
        return matches!(kind, 2 | 9 | 11) && may;
    }
    let is_conforming = kind & 0xc == 0xc;
    is_conforming || may
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::emulate::tests::{memory, tables};

    #[test]
    fn limits_are_those_of_the_table_and_the_rest_has_none() {
        let memory = memory();
        let mut sregs = tables(&memory);
        sregs.gdt.base = 0x1000;
        sregs.gdt.limit = 0x3f;
        sregs.ldt.unusable = 1;
        let table: [u64; 8] = [
            0,
            // Code of 4 GiB; data for programs, with a CPU's number; a busy task; a gate; data of the kernel.
            0x00af_9b00_0000_ffff,
            0x0040_f500_0000_1005,
            0x0000_8b00_0000_0067,
            0x0000_8e00_0000_ffff,
            0x00c2_9300_0001_2345,
            0x00c0_9f00_0000_0000,
            0xffff_ffff_ffff_ffff,
        ];
        for (at, descriptor) in (0x2_1000..).step_by(8).zip(table) {
            memory.write_obj(descriptor, GuestAddress(at)).unwrap();
        }
        let pages = Pages::new(&memory, &sregs);
        let of = |selector| limit(selector, &sregs, &pages);
        assert_eq!(of(0), Ok(None));
        assert_eq!(of(3), Ok(None));
        assert_eq!(of(0x08), Ok(Some(0xffff_ffff)));
        assert_eq!(of(0x0b), Ok(None), "the kernel's, for a program");
        assert_eq!(of(0x10), Ok(Some(0x1005)));
        assert_eq!(of(0x13), Ok(Some(0x1005)));
        assert_eq!(of(0x18), Ok(Some(0x67)));
        assert_eq!(of(0x20), Ok(None), "a gate");
        assert_eq!(of(0x28), Ok(Some(0x2234_5fff)));
        assert_eq!(of(0x33), Ok(Some(0xfff)), "conforming code");
        assert_eq!(of(0x40), Ok(None), "behind the table");
        assert_eq!(of(0x0c), Ok(None), "no local table");
        sregs.gdt.base = 0x3000;
        let pages = Pages::new(&memory, &sregs);
        let fault = Fault::Page {
            address: 0x3008,
            code: 0,
        };
        assert_eq!(limit(0x08, &sregs, &pages), Err(fault));
    }
}
