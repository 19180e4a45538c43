//! A thread that brings in the memory of a snapshot: page by page, as somebody touches it, or what was recorded ahead. Its file is open.

use super::call::{Call, call, is};
use super::common;

pub(super) const CALLS: &[&[Call]] = &[common::CALLS, OWN];

/// `UFFDIO_WAKE`, `UFFDIO_COPY` and `UFFDIO_ZEROPAGE` of Linux.
const WAKE: u32 = 0x8010_aa02;
const COPY: u32 = 0xc028_aa03;
const ZERO: u32 = 0xc020_aa04;

pub(super) const OWN: &[Call] = &[
    call!(SYS_pread64),
    call!(SYS_ioctl, &[&[is(1, WAKE)], &[is(1, COPY)], &[is(1, ZERO)]]),
    call!(
        SYS_madvise,
        &[
            &[is(2, libc::MADV_WILLNEED.cast_unsigned())],
            &[is(2, libc::MADV_POPULATE_READ.cast_unsigned())],
            &[is(2, libc::MADV_POPULATE_WRITE.cast_unsigned())],
        ]
    ),
];
