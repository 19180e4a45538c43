//! A share's thread: whatever can be done to the files of its directory.
//!
//! Each name is a component below a directory that is open (`hull_devices::fs`). No filter can see that; Landlock and the empty root see to
//! it.

use super::call::{Call, call, is};
use super::{common, devices};

pub(super) const CALLS: &[&[Call]] = &[common::CALLS, devices::CALLS, devices::FILES, OWN];

pub(super) const OWN: &[Call] = &[
    // Looking.
    call!(SYS_openat),
    call!(SYS_readlinkat),
    call!(SYS_getdents64),
    call!(SYS_fstatfs),
    call!(SYS_fgetxattr),
    call!(SYS_flistxattr),
    call!(SYS_geteuid),
    // Names.
    call!(SYS_mkdirat),
    call!(SYS_mknodat),
    call!(SYS_symlinkat),
    call!(SYS_linkat),
    call!(SYS_unlinkat),
    call!(SYS_renameat2),
    // Attributes.
    call!(SYS_fchmod),
    call!(SYS_fchmodat),
    call!(SYS_fchownat),
    call!(SYS_utimensat),
    call!(SYS_fsetxattr),
    call!(SYS_fremovexattr),
    // Contents.
    call!(SYS_pwritev2),
    call!(SYS_ftruncate),
    call!(SYS_copy_file_range),
    call!(SYS_syncfs),
    // Locks.
    call!(SYS_flock),
    call!(
        SYS_fcntl,
        &[
            &[is(1, libc::F_OFD_SETLK.cast_unsigned())],
            &[is(1, libc::F_OFD_GETLK.cast_unsigned())],
            &[is(1, libc::F_GETFL.cast_unsigned())],
            &[is(1, libc::F_SETFL.cast_unsigned())],
            &[is(1, libc::F_DUPFD_CLOEXEC.cast_unsigned())],
        ]
    ),
];
