//! A device with a thread of its own: a disk or a network interface.

use super::call::{Arg, Call, call, is};
use super::{common, devices};

pub(super) const CALLS: &[&[Call]] = &[
    common::CALLS,
    devices::CALLS,
    devices::FILES,
    devices::STREAMS,
    OWN,
];

/// `BLKGETSIZE64` of Linux: the size of a disk.
const BLKGETSIZE64: u32 = 0x8008_1272;
/// `TUNSETOFFLOAD` of Linux.
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
/// `TUNSETQUEUE` of Linux.
const TUNSETQUEUE: u32 = 0x4004_54d9;

/// What a network interface tells its TAP when its driver says how it works.
pub(super) const TAP: &[&[Arg]] = &[&[is(1, TUNSETOFFLOAD)], &[is(1, TUNSETQUEUE)]];

/// `IORING_REGISTER_FILES` and its opposite: a disk's ring gets another file.
pub(super) const FILES: &[&[Arg]] = &[&[is(1, 2)], &[is(1, 3)]];

pub(super) const OWN: &[Call] = &[
    // A disk that is put in the place of another: asked for, locked, measured.
    call!(SYS_recvmsg),
    call!(SYS_flock),
    // Between tries of that.
    call!(SYS_clock_nanosleep),
    call!(SYS_fstatfs),
    call!(SYS_ioctl, TAP),
    call!(SYS_ioctl, &[&[is(1, BLKGETSIZE64)]]),
    // Persistent memory.
    call!(SYS_msync),
    call!(SYS_io_uring_enter),
    call!(SYS_io_uring_register, FILES),
    call!(
        SYS_fcntl,
        &[
            &[is(1, libc::F_GETFL.cast_unsigned())],
            &[is(1, libc::F_SETFL.cast_unsigned())],
            &[is(1, libc::F_DUPFD_CLOEXEC.cast_unsigned())],
        ]
    ),
];
