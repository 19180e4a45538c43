//! The keeper's own thread: it opens what was named, and waits for the machine's process and for people.

use super::call::{Call, call, is};
use super::common;

pub(super) const CALLS: &[&[Call]] = &[common::CALLS, OWN];

/// `TUNSETIFF` of Linux: takes a TAP device by its name.
const TUNSETIFF: u32 = 0x4004_54ca;
/// `SIOCGIFINDEX` of Linux: whether there is an interface of a name.
const SIOCGIFINDEX: u32 = 0x8933;

const OWN: &[Call] = &[
    // Files and directories.
    call!(SYS_openat),
    call!(SYS_statx),
    call!(SYS_unlink),
    // A snapshot's files, which get their names when they are whole.
    call!(SYS_readlink),
    call!(SYS_linkat),
    call!(SYS_rename),
    call!(SYS_fsync),
    call!(SYS_rmdir),
    call!(SYS_flock),
    // Between tries of a socket that somebody is about to leave.
    call!(SYS_clock_nanosleep),
    call!(SYS_umask),
    call!(
        SYS_fcntl,
        &[&[is(1, libc::F_DUPFD_CLOEXEC.cast_unsigned())]]
    ),
    call!(SYS_ioctl, &[&[is(1, TUNSETIFF)], &[is(1, SIOCGIFINDEX)]]),
    // Unix sockets: the vsock device's, and services behind its ports.
    call!(SYS_socket, &[&[is(0, libc::AF_UNIX.cast_unsigned())]]),
    call!(SYS_bind),
    call!(SYS_listen),
    call!(SYS_connect),
    call!(SYS_getsockname),
    // The machine's process.
    call!(SYS_recvfrom),
    call!(SYS_sendmsg),
    call!(
        SYS_pidfd_send_signal,
        &[&[is(1, libc::SIGKILL.cast_unsigned())]]
    ),
    call!(SYS_wait4),
];
