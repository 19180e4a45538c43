//! What devices do in whichever thread they run: wait, move bytes between the guest's memory and files that are open, keep time.

use super::call::{Call, call};

/// Of those with streams: not of a share.
pub(super) const STREAMS: &[Call] = &[call!(SYS_readv), call!(SYS_writev)];

pub(super) const CALLS: &[Call] = &[
    call!(SYS_epoll_wait),
    call!(SYS_epoll_pwait),
    call!(SYS_epoll_ctl),
    call!(SYS_timerfd_create),
    call!(SYS_timerfd_settime),
    call!(SYS_pread64),
    call!(SYS_pwrite64),
    call!(SYS_preadv),
    call!(SYS_pwritev),
    call!(SYS_lseek),
    call!(SYS_statx),
    call!(SYS_fsync),
    call!(SYS_fdatasync),
    call!(SYS_fallocate),
];
