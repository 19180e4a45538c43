//! Machines of every size: vCPUs that wake up, and memory on both sides of the hole.

mod common;

use common::guest::{Code, WINDOW};
use common::{Vm, no_kvm};
use hull_vm_api::ExitCause;
use serde_json::json;

/// Where the other vCPUs start, in real mode, and the word in which they are counted.
const TRAMPOLINE: u32 = 0x8000;
const COUNT: u32 = 0x8100;

/// The first vCPU wakes all others, waits until `others` of them have counted themselves, and powers off.
fn roll_call(others: u8) -> Vec<u8> {
    // lock inc word [COUNT]; cli; hlt
    let other = [0xf0, 0xff, 0x06, 0x00, 0x81, 0xfa, 0xf4, 0x90];
    Code::new()
        .store(TRAMPOLINE, u64::from_le_bytes(other))
        .store(COUNT, 0)
        .window(0xfee0_0000)
        // The APIC's spurious vector register switches it on; then INIT and start-up to all but itself.
        .bytes(&apic(0xf0, 0x1ff))
        .bytes(&apic(0x300, 0x000c_4500))
        .bytes(&apic(0x300, 0x000c_4600 | TRAMPOLINE >> 12))
        .bytes(&[0x66, 0x81, 0x3c, 0x25]) // again: cmp word [COUNT], others
        .bytes(&COUNT.to_le_bytes())
        .bytes(&[others, 0])
        .bytes(&[0x75, 0xf4]) // jne again
        .power_off()
}

/// `mov dword [WINDOW + register], value`
fn apic(register: u32, value: u32) -> Vec<u8> {
    let address = (WINDOW + register).to_le_bytes();
    [&[0xc7, 0x04, 0x25], &address[..], &value.to_le_bytes()[..]].concat()
}

#[test]
fn all_vcpus_wake_up() {
    if no_kvm() {
        return;
    }
    for vcpus in [2, 3, 32] {
        let vm = Vm::of(&roll_call(vcpus - 1))
            .set("/machine-config/vcpu_count", json!(vcpus))
            .set("/machine-config/smt", json!(vcpus == 32));
        let ended = vm.run();
        assert_eq!(
            ended.cause(),
            ExitCause::PowerOff,
            "{vcpus} vCPUs: {ended:?}"
        );
    }
}

/// Writes to the last bytes of a window and reads them back: power-off if they are memory, reboot if not.
fn probe_memory(physical: u64) -> Vec<u8> {
    let last = WINDOW + (2 << 20) - 8;
    Code::new()
        .window(physical)
        .store(last, 0x1234_5678_9abc_def0)
        .bytes(&[0x48, 0x3b, 0x04, 0x25]) // cmp rax, [last]
        .bytes(&last.to_le_bytes())
        .bytes(&[0x75, 0x09]) // jne to what follows the power-off
        .bytes(&Code::new().power_off())
        .out(0x64, 0xfe)
        .spin()
}

#[test]
fn memory_beyond_4_gib_ends_where_it_should() {
    if no_kvm() {
        return;
    }
    // 5 GiB: 3 below the hole, 2 above it.
    let cases = [
        (0xbfe0_0000, ExitCause::PowerOff),
        (0xc000_0000, ExitCause::Reboot),
        (0x1_0000_0000, ExitCause::PowerOff),
        (0x1_7fe0_0000, ExitCause::PowerOff),
        (0x1_8000_0000, ExitCause::Reboot),
    ];
    for (physical, cause) in cases {
        let vm =
            Vm::of(&probe_memory(physical)).set("/machine-config/mem_size_mib", json!(5 << 10));
        assert_eq!(vm.run().cause(), cause, "{physical:#x}");
    }
}

#[test]
fn the_smallest_machine_and_every_kind_of_page_run() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&probe_memory(0x1e0_0000)).set("/machine-config/mem_size_mib", json!(32));
    assert_eq!(vm.run().cause(), ExitCause::PowerOff);
    let vm = vm.set("/machine-config/huge_pages", json!("Transparent"));
    assert_eq!(vm.run().cause(), ExitCause::PowerOff);
    let vm = vm.set("/machine-config/track_dirty_pages", json!(true));
    assert_eq!(vm.run().cause(), ExitCause::PowerOff);
}

#[test]
fn huge_pages_are_used_or_asked_for() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&probe_memory(0x1e0_0000)).set("/machine-config/huge_pages", json!("2M"));
    let ended = vm.run();
    if ended.cause() != ExitCause::PowerOff {
        let sentence = ended.refusal(ExitCause::NoResource);
        assert!(
            sentence.contains("no 32 free huge pages of 2 MiB; reserve them"),
            "{sentence}"
        );
    }
}
