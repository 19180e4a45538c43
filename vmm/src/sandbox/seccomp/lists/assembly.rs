//! The first thread of the machine's process until the machine is there: it makes what the others use, and them.
//!
//! They inherit its filter, so all that they may call is let through here as well. Where there is no share's directory yet, and the root is
//! empty, the calls of shares come to nothing.

use super::api::FIONBIO;
use super::call::{Arg, Call, call, is, null};
use super::{common, devices, events, lane, memory, share, snapshot, vcpu};

pub(super) const CALLS: &[&[Call]] = &[
    OWN,
    common::CALLS,
    devices::CALLS,
    devices::FILES,
    devices::STREAMS,
    events::OWN,
    lane::OWN,
    memory::OWN,
    share::OWN,
    snapshot::OWN,
    vcpu::OWN,
];

/// `clone(2)` for a thread, and nothing else (glibc, `sysdeps/unix/sysv/linux/createthread.c`).
const THREAD: u32 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID)
    .cast_unsigned();

/// The calls of KVM by which a machine is made.
const KVM: &[&[Arg]] = &[
    &[is(1, 0xae00)],      // KVM_GET_API_VERSION
    &[is(1, 0xae01)],      // KVM_CREATE_VM
    &[is(1, 0xae03)],      // KVM_CHECK_EXTENSION
    &[is(1, 0xae04)],      // KVM_GET_VCPU_MMAP_SIZE
    &[is(1, 0xc008_ae05)], // KVM_GET_SUPPORTED_CPUID
    &[is(1, 0xae41)],      // KVM_CREATE_VCPU
    &[is(1, 0x4020_ae46)], // KVM_SET_USER_MEMORY_REGION
    &[is(1, 0xae47)],      // KVM_SET_TSS_ADDR
    &[is(1, 0x4008_ae48)], // KVM_SET_IDENTITY_MAP_ADDR
    &[is(1, 0xae60)],      // KVM_CREATE_IRQCHIP
    &[is(1, 0x4020_ae76)], // KVM_IRQFD
    &[is(1, 0x4040_ae77)], // KVM_CREATE_PIT2
    &[is(1, 0x4040_ae79)], // KVM_IOEVENTFD
    &[is(1, 0xc008_ae88)], // KVM_GET_MSRS
    &[is(1, 0x4008_ae89)], // KVM_SET_MSRS
    &[is(1, 0x41a0_ae8d)], // KVM_SET_FPU
    &[is(1, 0x4008_ae90)], // KVM_SET_CPUID2
    &[is(1, 0xaea3)],      // KVM_GET_TSC_KHZ
    // And those by which it is as it was saved.
    &[is(1, 0xaea2)],      // KVM_SET_TSC_KHZ
    &[is(1, 0x4004_ae99)], // KVM_SET_MP_STATE
    &[is(1, 0x4188_aea7)], // KVM_SET_XCRS
    &[is(1, 0x4080_aea2)], // KVM_SET_DEBUGREGS
    &[is(1, 0x4400_ae8f)], // KVM_SET_LAPIC
    &[is(1, 0x8208_ae63)], // KVM_SET_IRQCHIP
    &[is(1, 0x4070_aea0)], // KVM_SET_PIT2
    &[is(1, 0x4030_ae7b)], // KVM_SET_CLOCK
    // Memory that comes when it is touched.
    &[is(1, 0xaa00)],      // USERFAULTFD_IOC_NEW
    &[is(1, 0xc018_aa3f)], // UFFDIO_API
    &[is(1, 0xc020_aa00)], // UFFDIO_REGISTER
    &[is(1, FIONBIO)],
    // A TAP, of which these are asked once.
    &[is(1, 0x8004_54d2)], // TUNGETIFF
    &[is(1, 0x4004_54d8)], // TUNSETVNETHDRSZ
];

const OWN: &[Call] = &[
    call!(SYS_ioctl, KVM),
    // Memory of the guest: left out of dumps, of forks, in large pages, there at once.
    call!(
        SYS_madvise,
        &[
            &[is(2, libc::MADV_DONTDUMP.cast_unsigned())],
            &[is(2, libc::MADV_DONTFORK.cast_unsigned())],
            &[is(2, libc::MADV_HUGEPAGE.cast_unsigned())],
            &[is(2, libc::MADV_POPULATE_WRITE.cast_unsigned())],
        ]
    ),
    call!(SYS_sysinfo),
    // How many descriptors there can be.
    call!(SYS_prlimit64, &[&[null(2)]]),
    // Pipes to threads that carry output.
    call!(SYS_pipe2),
    call!(SYS_newfstatat),
    call!(SYS_fstat),
    // A disk's ring, with what it may do set before it can do anything.
    call!(SYS_io_uring_setup),
    call!(
        SYS_io_uring_register,
        &[&[is(1, 11)], &[is(1, 12)], &[is(1, 2)], &[is(1, 3)]]
    ),
    // What limits rates, and asks again later.
    call!(SYS_timerfd_create),
    // Threads, with guards below their stacks, which give up what their kind does not need.
    call!(SYS_mprotect, common::NO_CODE),
    call!(SYS_clone, &[&[is(0, THREAD)]]),
    call!(SYS_clone3),
    call!(SYS_set_robust_list),
    call!(SYS_rseq),
    call!(SYS_sched_getaffinity),
    call!(SYS_sched_setaffinity),
    call!(SYS_rt_sigaction),
    call!(
        SYS_prctl,
        &[
            &[is(0, libc::PR_SET_NAME.cast_unsigned())],
            &[is(0, libc::PR_SET_NO_NEW_PRIVS.cast_unsigned())],
        ]
    ),
    call!(SYS_capset),
    call!(SYS_seccomp, &[&[is(0, libc::SECCOMP_SET_MODE_FILTER)]]),
    call!(SYS_landlock_create_ruleset),
    call!(SYS_landlock_add_rule),
    call!(SYS_landlock_restrict_self),
];
