//! Whether `syscall` enters a guest's kernel as the processor's manual says.

use hull_vm_api::profile::SyscallEntry;

use super::ProbeError;
use super::guest::{ANSWER, MicroGuest, Outcome};
use super::state::{HANDLER, KERNEL_CODE, Level};

/// Where `syscall` takes its segments, its target and the flags to clear from (AMD APM volume 2, section 6.1).
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const SFMASK: u32 = 0xc000_0084;
/// Requested privilege of a selector.
const PRIVILEGE: u32 = 3;

pub(super) fn syscall(guest: &mut MicroGuest) -> Result<SyscallEntry, ProbeError> {
    // `syscall`, and at its target: mov eax, cs; out.
    let program = [0x0f, 0x05];
    let handler = [[0x8c, 0xc8], ANSWER].concat();
    let msrs = [
        (STAR, u64::from(KERNEL_CODE) << 32 | 0x23 << 48),
        (LSTAR, HANDLER),
        // I/O stays allowed, so that the handler can answer at whatever level it finds itself.
        (SFMASK, 0),
    ];
    let outcome = guest.run_with_handler(Level::User, &program, &handler, &msrs)?;
    Ok(match outcome {
        Outcome::Answer(cs) if cs == u32::from(KERNEL_CODE) => SyscallEntry::Kernel,
        Outcome::Answer(cs) if cs & PRIVILEGE == PRIVILEGE => SyscallEntry::StaysUser,
        Outcome::Answer(_) | Outcome::Failed(_) => SyscallEntry::Fails,
    })
}
