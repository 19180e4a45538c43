//! What every thread needs: memory, locks, the clock, an end.

use super::call::{Arg, Call, call, is, null, without};

const EXEC: u32 = libc::PROT_EXEC.cast_unsigned();

/// Memory that cannot be run.
const NO_CODE: &[&[Arg]] = &[&[without(2, EXEC)]];

/// Of every thread.
pub(super) const CALLS: &[Call] = &[
    call!(SYS_read),
    call!(SYS_write),
    call!(SYS_close),
    call!(SYS_ppoll),
    call!(SYS_mmap, NO_CODE),
    call!(SYS_mprotect, NO_CODE),
    call!(SYS_munmap),
    call!(SYS_mremap),
    call!(SYS_brk),
    call!(
        SYS_madvise,
        &[&[is(2, libc::MADV_DONTNEED.cast_unsigned())]]
    ),
    call!(SYS_futex),
    call!(SYS_sched_yield),
    call!(SYS_clock_gettime),
    call!(SYS_clock_nanosleep),
    // Seeds of hash maps, too.
    call!(SYS_getrandom),
    call!(SYS_gettid),
    call!(SYS_getpid),
    call!(SYS_rt_sigprocmask),
    call!(SYS_rt_sigreturn),
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
