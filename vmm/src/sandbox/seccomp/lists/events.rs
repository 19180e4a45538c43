//! The event loop of the machine's process, with all devices that have no thread of their own.

use super::call::{Call, call, is};
use super::{common, devices, lane};

pub(super) const CALLS: &[&[Call]] = &[common::CALLS, devices::CALLS, devices::STREAMS, OWN];

/// `KVM_SIGNAL_MSI`, by which it sends a non-maskable interrupt.
const KVM_SIGNAL_MSI: u32 = 0x4020_aea5;
/// `KVM_GET_IRQCHIP`, by which it sees whether the guest listens to its power button.
const KVM_GET_IRQCHIP: u32 = 0xc208_ae62;
/// `KVM_SET_USER_MEMORY_REGION`, by which memory is plugged in.
pub(super) const KVM_SET_USER_MEMORY_REGION: u32 = 0x4020_ae46;
/// `KVM_GET_MSR_INDEX_LIST` and `KVM_CHECK_EXTENSION`, by which it learns what a snapshot is to have.
const KVM_GET_MSR_INDEX_LIST: u32 = 0xc004_ae02;
const KVM_CHECK_EXTENSION: u32 = 0xae03;
/// The first real-time signal that libc leaves, which gets a vCPU out of the guest.
const KICK: u32 = 34;

pub(super) const OWN: &[Call] = &[
    // The loop itself.
    call!(SYS_epoll_create1),
    call!(SYS_epoll_wait),
    call!(SYS_eventfd2),
    // A disk's ring lets go of its files, and is waited for.
    call!(SYS_io_uring_enter),
    call!(SYS_io_uring_register, lane::FILES),
    // Orders, and what is asked for.
    call!(SYS_recvfrom),
    call!(SYS_recvmsg),
    call!(SYS_tgkill, &[&[is(2, KICK)]]),
    call!(
        SYS_ioctl,
        &[
            &[is(1, KVM_SIGNAL_MSI)],
            &[is(1, KVM_GET_IRQCHIP)],
            &[is(1, KVM_SET_USER_MEMORY_REGION)],
            &[is(1, KVM_GET_MSR_INDEX_LIST)],
            &[is(1, KVM_CHECK_EXTENSION)],
        ]
    ),
    // A network interface that goes on after a pause tells its TAP again what its driver can do.
    call!(SYS_ioctl, lane::TAP),
    // Descriptors of which somebody else gets a second one, and whether they wait.
    call!(
        SYS_fcntl,
        &[
            &[is(1, libc::F_GETFL.cast_unsigned())],
            &[is(1, libc::F_SETFL.cast_unsigned())],
            &[is(1, libc::F_DUPFD_CLOEXEC.cast_unsigned())],
        ]
    ),
    // A file of metrics that has the last state alone.
    call!(SYS_ftruncate),
    // vsock.
    call!(SYS_accept4),
    call!(SYS_shutdown),
    call!(SYS_socketpair, &[&[is(0, libc::AF_UNIX.cast_unsigned())]]),
    call!(SYS_sendmsg),
    // Balloon and memory that is unplugged.
    call!(SYS_madvise, &[&[is(2, libc::MADV_REMOVE.cast_unsigned())]]),
];
