//! Which pages a guest and a device write, as KVM and the memory itself tell.

use std::os::unix::fs::FileExt;

use hull_vm_api::config::{HugePages, MachineConfig};
use kvm_bindings::kvm_regs;
use kvm_ioctls::{VcpuExit, VmFd};
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::*;
use crate::kvm;

const PAGES: usize = 64;

/// A machine whose guest has written the page at 0x5000, as configured.
fn written(track_dirty_pages: bool) -> Option<(VmFd, GuestMemory)> {
    let Ok(kvm) = kvm::open(&[]) else {
        println!("SKIPPED: no usable /dev/kvm");
        return None;
    };
    let machine = MachineConfig {
        mem_size_mib: 32,
        track_dirty_pages,
        ..MachineConfig::default()
    };
    let vm = kvm::create_vm(&kvm).unwrap();
    let memory = map(&machine).unwrap();
    register(&vm, &memory, track_dirty_pages).unwrap();
    write(&vm, &memory);
    Some((vm, memory))
}

/// Has a guest write the page at 0x5000.
fn write(vm: &VmFd, memory: &GuestMemory) {
    // mov byte [0x5000], 1; out 0x80, al
    let code = [0xc6, 0x06, 0x00, 0x50, 0x01, 0xe6, 0x80];
    memory.write_slice(&code, GuestAddress(0x1000)).unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    let mut sregs = vcpu.get_sregs().unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs).unwrap();
    let regs = kvm_regs {
        rip: 0x1000,
        rflags: 2,
        ..kvm_regs::default()
    };
    vcpu.set_regs(&regs).unwrap();
    let exit = vcpu.run().unwrap();
    assert!(matches!(exit, VcpuExit::IoOut(0x80, _)), "{exit:?}");
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x5000)).unwrap(), 1);
}

/// The first pages that the guest has written since this was asked last.
fn log(vm: &VmFd) -> Result<u64, kvm_ioctls::Error> {
    let log = vm.get_dirty_log(0, 32 << 20)?;
    Ok(log.first().copied().unwrap_or_default())
}

#[test]
fn what_the_guest_writes_is_in_the_log_once() {
    let Some((vm, memory)) = written(true) else {
        return;
    };
    assert_eq!(log(&vm).unwrap(), 1 << 5);
    assert_eq!(log(&vm).unwrap(), 0);
    // What this process writes for a device is noted by the memory itself.
    let region = memory.find_region(GuestAddress(0)).unwrap();
    let noted = || (0..PAGES).filter(|page| region.bitmap().dirty_at(page * 4096));
    assert_eq!(noted().collect::<Vec<_>>(), [1]);
    memory.write_obj(7_u8, GuestAddress(0x9fff)).unwrap();
    assert_eq!(noted().collect::<Vec<_>>(), [1, 9]);
}

#[test]
fn nothing_is_logged_unless_it_is_to_be() {
    let Some((vm, _memory)) = written(false) else {
        return;
    };
    assert_eq!(log(&vm).unwrap_err().errno(), libc::ENOENT);
}

#[test]
fn a_guest_has_memory_that_came_after_its_slots_and_its_file_is_never_written() {
    let Ok(kvm) = kvm::open(&[]) else {
        println!("SKIPPED: no usable /dev/kvm");
        return;
    };
    // On both sides of the hole.
    let machine = MachineConfig {
        mem_size_mib: 4 << 10,
        ..MachineConfig::default()
    };
    let vm = kvm::create_vm(&kvm).unwrap();
    let reserved = Reserved::make(&vm, machine.mem_size_mib).unwrap();
    assert!(reserved.suits(&machine));
    for other in [
        MachineConfig {
            mem_size_mib: 5 << 10,
            ..MachineConfig::default()
        },
        MachineConfig {
            track_dirty_pages: true,
            ..machine.clone()
        },
        MachineConfig {
            huge_pages: HugePages::Hugetlbfs2M,
            ..machine.clone()
        },
    ] {
        assert!(!reserved.suits(&other), "{other:?}");
    }
    let file = tempfile::tempfile().unwrap();
    file.set_len(4 << 30).unwrap();
    // The first page above the hole, in the file behind those below it.
    file.write_at(b"above", 3 << 30).unwrap();
    let part = |offset| FileOffset::new(file.try_clone().unwrap(), offset);
    let (memory, end) = reserved.map(&machine, part).unwrap();
    assert_eq!(end, 4 << 30);
    let above = memory.read_obj::<[u8; 5]>(GuestAddress(4 << 30)).unwrap();
    assert_eq!(&above, b"above");
    write(&vm, &memory);
    let mut there = [1];
    file.read_exact_at(&mut there, 0x5000).unwrap();
    assert_eq!(there, [0]);

    // Those that are given up can be made anew, for memory that is elsewhere.
    let vm = kvm::create_vm(&kvm).unwrap();
    let reserved = Reserved::make(&vm, 4 << 10).unwrap();
    reserved.give_up(&vm).unwrap();
    let memory = map(&machine).unwrap();
    register(&vm, &memory, false).unwrap();
    write(&vm, &memory);
    assert!(Reserved::make(&vm, 0).is_none() && Reserved::make(&vm, u64::MAX).is_none());
}
