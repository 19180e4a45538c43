//! Memory whose page the host does not have any more: that of a file which somebody made shorter while it was mapped.
//!
//! Whoever touches such a page gets SIGBUS, and there is no way on: the process says which file it was and ends. (The guest's processor
//! gets no signal; there KVM refuses to go on, see [`crate::vcpu`].)

#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use hull_vm_api::ExitCause;

use crate::last_words::Words;

/// As many as there can be devices, twice.
const MOST: usize = 64;
/// As much of a name is told, in bytes.
const NAME: usize = 64;

/// Where files are mapped. A handler may look at any time, so nothing is locked.
static PLACES: [Slot; MOST] = [const { Slot::new() }; MOST];

struct Slot {
    /// Address of the first byte behind it; 0 if nothing is here.
    end: AtomicUsize,
    start: AtomicUsize,
    name: [AtomicU8; NAME],
}

impl Slot {
    const fn new() -> Self {
        Self {
            end: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            name: [const { AtomicU8::new(0) }; NAME],
        }
    }
}

/// A file's place in memory, known for as long as this lives.
#[derive(Debug)]
pub(crate) struct Place(Option<usize>);

impl Place {
    /// The file `name` is mapped there. More than [`MOST`] at once have no name.
    pub(crate) fn of(name: &str, addresses: Range<u64>) -> Self {
        let [start, end] =
            [addresses.start, addresses.end].map(|at| usize::try_from(at).unwrap_or_default());
        let take = |slot: &&Slot| {
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            // Taken, and with no address in it yet.
            let taken = slot.end.compare_exchange(0, 1, order.0, order.1);
            taken.is_ok()
        };
        let Some((index, slot)) = PLACES.iter().enumerate().find(|(_, slot)| take(slot)) else {
            return Self(None);
        };
        let bytes = name.bytes().chain(std::iter::repeat(0));
        for (place, byte) in slot.name.iter().zip(bytes) {
            place.store(byte, Ordering::Relaxed);
        }
        slot.start.store(start, Ordering::Relaxed);
        slot.end.store(end.max(1), Ordering::Release);
        Self(Some(index))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slot) = self.0.and_then(|index| PLACES.get(index)) {
            slot.start.store(0, Ordering::Relaxed);
            slot.end.store(0, Ordering::Release);
        }
    }
}

/// The part of `siginfo_t` that SIGBUS fills (`asm-generic/siginfo.h`).
#[repr(C)]
struct Info {
    signal: libc::c_int,
    error: libc::c_int,
    code: libc::c_int,
    address: usize,
}

const _: () = assert!(offset_of!(Info, address) == 16);

/// Tells of lost memory in this process from now on ([`crate::last_words`]).
///
/// # Errors
/// The host's answer.
pub(crate) fn watch() -> io::Result<()> {
    // SAFETY: the handler makes only calls that are allowed in one; the structure is plain data for which all zeros is "no
    // flags, empty mask".
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn handle(_: libc::c_int, info: *const Info, _: *const libc::c_void) {
    // SAFETY: the kernel gives the handler of a signal with SA_SIGINFO such a structure, and this signal fills the address.
    let address = unsafe { (*info).address };
    let mut words = Words::default();
    let is_there = |slot: &&Slot| {
        let end = slot.end.load(Ordering::Acquire);
        (slot.start.load(Ordering::Relaxed)..end).contains(&address)
    };
    match PLACES.iter().find(is_there) {
        Some(slot) => {
            words.push("the file of ");
            let name = slot.name.iter().map(|byte| byte.load(Ordering::Relaxed));
            for byte in name.take_while(|byte| *byte != 0) {
                words.push_byte(byte);
            }
            words.push(" was made shorter while it was mapped");
        }
        None => words.push("it has no page for memory that was in use"),
    }
    words.end(
        ExitCause::NoResource,
        "the host lacks what the machine needs: ",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_and_given_back() {
        let taken = || {
            let slots = PLACES.iter();
            let used = slots.filter(|slot| slot.end.load(Ordering::Relaxed) != 0);
            used.count()
        };
        let some: Vec<_> = (0..MOST as u64 + 3)
            .map(|number| Place::of("pmem x", number * 4096..(number + 1) * 4096))
            .collect();
        assert_eq!(taken(), MOST);
        drop(some);
        assert_eq!(taken(), 0);
    }
}
