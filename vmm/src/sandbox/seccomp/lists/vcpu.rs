//! A vCPU's thread: it runs the guest, and does what the guest's accesses to registers ask for. That includes starting and stopping devices.

use super::call::{Arg, Call, call, is};
use super::events::KVM_SET_USER_MEMORY_REGION;
use super::{common, lane};

pub(super) const CALLS: &[&[Call]] = &[common::CALLS, OWN];

/// The calls of KVM while a guest runs, those by which an instruction is carried out here (`emulate`) or a failure described, and those that
/// tell a state that is to be saved.
const KVM: &[&[Arg]] = &[
    &[is(1, 0xae80)],      // KVM_RUN
    &[is(1, 0xaead)],      // KVM_KVMCLOCK_CTRL
    &[is(1, 0x8090_ae81)], // KVM_GET_REGS
    &[is(1, 0x4090_ae82)], // KVM_SET_REGS
    &[is(1, 0x8138_ae83)], // KVM_GET_SREGS
    &[is(1, 0x4138_ae84)], // KVM_SET_SREGS
    &[is(1, 0x9000_aea4)], // KVM_GET_XSAVE
    &[is(1, 0x5000_aea5)], // KVM_SET_XSAVE
    &[is(1, 0x8188_aea6)], // KVM_GET_XCRS
    &[is(1, 0x8040_ae9f)], // KVM_GET_VCPU_EVENTS
    &[is(1, 0x4040_aea0)], // KVM_SET_VCPU_EVENTS
    &[is(1, 0x8004_ae98)], // KVM_GET_MP_STATE
    &[is(1, 0x8080_aea1)], // KVM_GET_DEBUGREGS
    &[is(1, 0x8400_ae8e)], // KVM_GET_LAPIC
    &[is(1, 0xc008_ae88)], // KVM_GET_MSRS
    &[is(1, 0xc008_ae91)], // KVM_GET_CPUID2
    &[is(1, 0xaea3)],      // KVM_GET_TSC_KHZ
];

pub(super) const OWN: &[Call] = &[
    call!(SYS_ioctl, KVM),
    // Starting and stopping devices.
    call!(SYS_ioctl, lane::TAP),
    call!(SYS_ioctl, &[&[is(1, KVM_SET_USER_MEMORY_REGION)]]),
    call!(SYS_madvise, &[&[is(2, libc::MADV_REMOVE.cast_unsigned())]]),
    call!(SYS_io_uring_enter),
    call!(SYS_io_uring_register, lane::FILES),
    call!(SYS_timerfd_settime),
    call!(SYS_epoll_ctl),
    call!(SYS_shutdown),
];
