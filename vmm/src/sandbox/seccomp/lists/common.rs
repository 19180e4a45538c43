//! What every thread needs: memory, locks, the clock, an end.

use super::call::{Arg, Call, call, is, null, without};

const EXEC: u32 = libc::PROT_EXEC.cast_unsigned();

/// Memory that cannot be run.
pub(super) const NO_CODE: &[&[Arg]] = &[&[without(2, EXEC)]];

/// Of every thread.
pub(super) const CALLS: &[Call] = &[
    call!(SYS_read),
    call!(SYS_write),
    call!(SYS_close),
    call!(SYS_ppoll),
    // Large blocks of the heap have mappings of their own, which move when they grow. The heap itself grows by brk(2); those that libc
    // would make for threads (see `program::share_heap`) would want mprotect(2).
    call!(SYS_mmap, NO_CODE),
    call!(SYS_munmap),
    call!(SYS_mremap),
    call!(SYS_brk),
    call!(
        SYS_madvise,
        &[&[is(2, libc::MADV_DONTNEED.cast_unsigned())]]
    ),
    call!(SYS_futex),
    // A channel whose other end is in the middle of something.
    call!(SYS_sched_yield),
    // Where the vDSO has no clock.
    call!(SYS_clock_gettime),
    // Seeds of hash maps, too.
    call!(SYS_getrandom),
    call!(SYS_gettid),
    call!(SYS_getpid),
    call!(SYS_rt_sigprocmask),
    call!(SYS_rt_sigreturn),
    // The kernel's, behind a stop of the process in a wait with a time.
    call!(SYS_restart_syscall),
    call!(SYS_sigaltstack),
    // The standard library makes sure that what it closes is open, where it is built to.
    call!(SYS_fcntl, &[&[is(1, libc::F_GETFD.cast_unsigned())]]),
    // Only to whoever is at the other end already: last words, among others.
    call!(SYS_sendto, &[&[null(4)]]),
    // abort(3).
    call!(SYS_tgkill, &[&[is(2, libc::SIGABRT.cast_unsigned())]]),
    call!(SYS_exit),
    call!(SYS_exit_group),
];
