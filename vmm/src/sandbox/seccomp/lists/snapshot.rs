//! The thread that writes snapshots: it asks KVM for its state, and writes files that are open. Devices that have threads are saved by these;
//! those of the event loop stop and start without a call that is not everybody's.

use super::call::{Arg, Call, call, is, null};
use super::common;

pub(super) const CALLS: &[&[Call]] = &[common::CALLS, OWN];

const KVM: &[&[Arg]] = &[
    &[is(1, 0xc208_ae62)], // KVM_GET_IRQCHIP
    &[is(1, 0x8070_ae9f)], // KVM_GET_PIT2
    &[is(1, 0x8030_ae7c)], // KVM_GET_CLOCK
    &[is(1, 0x4010_ae42)], // KVM_GET_DIRTY_LOG
    &[is(1, 0xc060_6610)], // PAGEMAP_SCAN, of the process itself
];

/// A copy of the process with the same descriptors, and nothing else (`snapshot/copy.rs`). It has the same filter.
const COPY: u32 = (libc::CLONE_FILES | libc::SIGCHLD).cast_unsigned();

pub(super) const OWN: &[Call] = &[
    call!(SYS_ioctl, KVM),
    // What is asked for.
    call!(SYS_recvmsg),
    // The files.
    call!(SYS_lseek),
    call!(SYS_statx),
    call!(SYS_pread64),
    call!(SYS_pwrite64),
    call!(SYS_ftruncate),
    call!(SYS_fsync),
    call!(SYS_copy_file_range),
    call!(SYS_uname),
    // A copy of the process, which writes while the guest goes on, and dies with this.
    call!(SYS_clone, &[&[is(0, COPY), null(1)]]),
    call!(
        SYS_prctl,
        &[&[is(0, libc::PR_SET_PDEATHSIG.cast_unsigned())]]
    ),
    call!(SYS_getppid),
    call!(SYS_wait4),
];
