//! Capabilities of Linux (`capabilities(7)`), which each thread has for itself.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

/// What a share's thread needs to be for the guest what root is for a program on the host: owners and modes of all files of the share
/// can be read and set.
const FOR_WRITING: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

/// The same of a share that is only read.
const FOR_READING: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// Both, for a process that may have shares.
pub(super) const FOR_SHARES: CapabilitySet = FOR_WRITING.union(FOR_READING);

/// Gives up everything but these, which can be put to use later but by nobody who is not allowed to already: nothing that this process
/// could run would have more than it.
///
/// # Errors
/// The host's answer.
pub(super) fn keep(kept: CapabilitySet) -> io::Result<()> {
    // A change of the user leaves what is kept unused.
    let all = capabilities(None)?.permitted;
    set(all, all)?;
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(one) {
            // The kernel has no more.
            Err(Errno::INVAL) => break,
            removed => removed?,
        }
    }
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    clear_ambient_capability_set()?;
    set(CapabilitySet::empty(), kept)?;
    set_no_new_privs(true)?;
    Ok(())
}

/// Puts to use what a share's thread needs, and gives up what it does not.
///
/// # Errors
/// The host's answer.
pub(super) fn use_for_share(read_only: bool) -> io::Result<()> {
    let needed = if read_only { FOR_READING } else { FOR_WRITING };
    set(needed, needed)
}

/// Gives up what was kept.
///
/// # Errors
/// The host's answer.
pub(super) fn give_up() -> io::Result<()> {
    set(CapabilitySet::empty(), CapabilitySet::empty())
}

fn set(effective: CapabilitySet, permitted: CapabilitySet) -> io::Result<()> {
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective,
        permitted,
        inheritable,
    };
    set_capabilities(None, sets)?;
    Ok(())
}
