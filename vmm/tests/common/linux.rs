//! Machines with the guest kernel.

use std::fs;

use serde_json::json;

use super::{Vm, guest_file};

/// A machine with the guest kernel, this host's arguments and more, and a serial port.
pub(crate) fn linux(vcpus: u8, more_args: &str, initramfs: &[u8]) -> Vm {
    let profile = hull_vmm::probe::run().unwrap();
    // A stall says that the test machine is busy, and what Linux does about it does not work on every KVM.
    let args = format!(
        "quiet console=ttyS0 reboot=k panic=-1 rcupdate.rcu_cpu_stall_suppress=1 {} {more_args}",
        profile.kernel_args()
    );
    let vm = Vm::empty();
    let initrd = vm.path("initrd");
    fs::write(&initrd, initramfs).unwrap();
    let kernel = guest_file("vmlinux");
    vm.set("/boot-source/kernel_image_path", json!(kernel))
        .set("/boot-source/initrd_path", json!(initrd))
        .set("/boot-source/boot_args", json!(args))
        .set("/machine-config/vcpu_count", json!(vcpus))
        .set("/machine-config/mem_size_mib", json!(128))
        .serial()
}
