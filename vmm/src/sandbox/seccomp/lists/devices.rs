//! What devices do in whichever thread they run: wait, keep time, move bytes between the guest's memory and what is open.

use super::call::{Call, call};

/// Of those with streams: not of a share.
pub(super) const STREAMS: &[Call] = &[call!(SYS_readv), call!(SYS_writev)];

/// Of those with files, which have threads of their own.
pub(super) const FILES: &[Call] = &[
    call!(SYS_pread64),
    call!(SYS_pwrite64),
    call!(SYS_preadv),
    call!(SYS_pwritev),
    call!(SYS_fsync),
    call!(SYS_fdatasync),
    call!(SYS_fallocate),
];

pub(super) const CALLS: &[Call] = &[
    call!(SYS_epoll_pwait),
    call!(SYS_epoll_ctl),
    call!(SYS_timerfd_settime),
    call!(SYS_lseek),
    call!(SYS_statx),
];
