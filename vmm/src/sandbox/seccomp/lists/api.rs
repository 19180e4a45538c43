//! The thread that reads HTTP.

use super::call::{Call, call, is};
use super::common;

pub(super) const CALLS: &[&[Call]] = &[common::CALLS, OWN];

/// `FIONBIO` of Linux: whether a descriptor waits.
pub(super) const FIONBIO: u32 = 0x5421;

const OWN: &[Call] = &[
    call!(SYS_accept4),
    call!(SYS_ioctl, &[&[is(1, FIONBIO)]]),
    call!(SYS_recvfrom),
    call!(SYS_shutdown),
];
