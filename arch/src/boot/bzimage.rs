//! `bzImage` kernels (Linux `Documentation/arch/x86/boot.rst`): entered at their 64-bit entry point, where they
//! unpack themselves.

use std::io::{Read, Seek};

use linux_loader::loader::KernelLoader;
use linux_loader::loader::bzimage::BzImage;
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, ReadVolatile};

use super::{Entry, Error, Kernel, Protocol, check_range};
use crate::layout::HIGH_RAM;

/// `XLF_KERNEL_64`: there is a 64-bit entry point, 0x200 behind the start.
const KERNEL_64: u16 = 1;
const ENTRY_64: u64 = 0x200;
/// The first version of the protocol with `xloadflags` and `init_size`.
const OLDEST_VERSION: u16 = 0x020c;

pub(super) fn load<M, F>(
    memory: &M,
    available: u64,
    file: &mut F,
    size: u64,
) -> Result<Kernel, Error>
where
    M: GuestMemoryBackend,
    F: Read + ReadVolatile + Seek,
{
    check_range(HIGH_RAM.0, HIGH_RAM.0.saturating_add(size), available)?;
    let loaded = BzImage::load(memory, Some(HIGH_RAM), file, None)
        .map_err(|error| Error::Load(error.to_string()))?;
    let setup = loaded
        .setup_header
        .ok_or(Error::BzImage("it has no setup header"))?;
    if setup.version < OLDEST_VERSION || setup.xloadflags & KERNEL_64 == 0 {
        return Err(Error::BzImage(
            "it has no 64-bit entry point (CONFIG_X86_64 of Linux 3.8 or newer)",
        ));
    }
    // It unpacks itself to where it prefers to be, or where it was loaded if that is higher.
    let unpacked = setup.pref_address.max(HIGH_RAM.0);
    let end = unpacked
        .checked_add(u64::from(setup.init_size))
        .ok_or(Error::Damaged("its size in memory is not one of a kernel"))?;
    check_range(unpacked, end, available)?;
    let address = loaded
        .kernel_load
        .checked_add(ENTRY_64)
        .ok_or(Error::BzImage("it is too high"))?;
    Ok(Kernel {
        entry: Entry {
            address,
            protocol: Protocol::Linux64,
        },
        end: GuestAddress(end.max(loaded.kernel_end)),
        setup: Some(setup),
    })
}
