//! Guest memory by linear address: the walk through the guest's page tables that its processor would make, in 64-bit mode (Intel
//! SDM volume 3, section 4.5). The tables are the guest's, so whatever they say is checked, and each walk ends.

use hull_devices::GuestMemory;
use kvm_bindings::kvm_sregs;
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, GuestAddress};

use super::Fault;

const PAGE: u64 = 4096;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
/// A page of 2 MiB or 1 GiB.
const LARGE: u64 = 1 << 7;
/// Bits 12 to 51 of an entry.
const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// CR0: supervisors, too, must not write where entries say so.
const WRITE_PROTECT: u64 = 1 << 16;
/// CR4: five levels.
const LA57: u64 = 1 << 12;

/// Error code of a page fault: the page was there, and: it was a write.
const WAS_PRESENT: u32 = 1;
const WAS_WRITE: u32 = 2;

/// What an access is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// Also of what is read before it is written again.
    Write,
}

/// The address space of a vCPU's kernel.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    memory: &'a GuestMemory,
    root: u64,
    levels: u32,
    protects: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(memory: &'a GuestMemory, sregs: &kvm_sregs) -> Self {
        Self {
            memory,
            root: sregs.cr3 & FRAME,
            levels: if sregs.cr4 & LA57 == 0 { 4 } else { 5 },
            protects: sregs.cr0 & WRITE_PROTECT != 0,
        }
    }

    /// Fills `target` from `address` on.
    pub(super) fn read(
        &self,
        address: u64,
        target: &mut [u8],
        access: Access,
    ) -> Result<(), Fault> {
        let mut done = 0;
        while let Some(rest) = target.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let (physical, linear, count) = self.piece(address, done, rest.len(), access)?;
            let place = rest.get_mut(..count).unwrap_or_default();
            let read = self.memory.read_slice(place, GuestAddress(physical));
            read.map_err(|_| absent(linear, access))?;
            done += count;
        }
        Ok(())
    }

    /// As much as there is at `address`; how much that was.
    pub(super) fn read_some(&self, address: u64, target: &mut [u8]) -> usize {
        let first = usize::try_from(PAGE - address % PAGE).unwrap_or(0);
        let first = first.min(target.len());
        let (here, beyond) = target.split_at_mut(first);
        if self.read(address, here, Access::Read).is_err() {
            return 0;
        }
        let next = address.wrapping_add(u64::try_from(first).unwrap_or(0));
        match self.read(next, beyond, Access::Read) {
            Ok(()) => target.len(),
            Err(_) => first,
        }
    }

    /// Writes `source` from `address` on. A fault may come after a part was written, as with the instruction itself.
    pub(super) fn write(&self, address: u64, source: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        while let Some(rest) = source.get(done..).filter(|rest| !rest.is_empty()) {
            let (physical, linear, count) = self.piece(address, done, rest.len(), Access::Write)?;
            let piece = rest.get(..count).unwrap_or_default();
            let written = self.memory.write_slice(piece, GuestAddress(physical));
            written.map_err(|_| absent(linear, Access::Write))?;
            done += count;
        }
        Ok(())
    }

    /// Where the bytes from `address` + `done` on are: physical and linear address, and how many of `left` are in that page.
    fn piece(
        &self,
        address: u64,
        done: usize,
        left: usize,
        access: Access,
    ) -> Result<(u64, u64, usize), Fault> {
        let linear = address.wrapping_add(u64::try_from(done).unwrap_or(0));
        let physical = self.translate(linear, access)?;
        let in_page = usize::try_from(PAGE - linear % PAGE).unwrap_or(1);
        Ok((physical, linear, left.min(in_page)))
    }

    /// The physical address of a linear one.
    ///
    /// Entries are not marked as accessed or dirty: another vCPU may be changing them. Linux keeps the kernel's own memory
    /// without looking at those bits, and takes a program's stack, where signals save registers, as dirty anyway.
    fn translate(&self, linear: u64, access: Access) -> Result<u64, Fault> {
        let mut table = self.root;
        for level in (0..self.levels).rev() {
            let shift = 12 + 9 * level;
            let slot = GuestAddress(table + (linear >> shift & 511) * 8);
            let entry: u64 = self
                .memory
                .load(slot, Ordering::Acquire)
                .map_err(|_| absent(linear, access))?;
            if entry & PRESENT == 0 {
                return Err(absent(linear, access));
            }
            if access == Access::Write && self.protects && entry & WRITABLE == 0 {
                let code = WAS_PRESENT | WAS_WRITE;
                let address = linear;
                return Err(Fault::Page { address, code });
            }
            let last = level == 0 || (level <= 2 && entry & LARGE != 0);
            if last {
                let inside = (1 << shift) - 1;
                return Ok(entry & FRAME & !inside | linear & inside);
            }
            table = entry & FRAME;
        }
        Err(absent(linear, access))
    }
}

/// The fault of a page that is not there.
fn absent(address: u64, access: Access) -> Fault {
    let code = match access {
        Access::Read => 0,
        Access::Write => WAS_WRITE,
    };
    Fault::Page { address, code }
}
