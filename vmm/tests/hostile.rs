//! What a guest does to its machine: counted, survived, and never more than its own end.

mod common;

use common::guest::{Code, Driven, WINDOW};
use common::{Configured, EVERY_DEVICE, Vm, no_kvm};
use hull_vm_api::ExitCause;
use hull_vm_api::config::MemoryHotplugUpdate;
use serde_json::json;

#[test]
fn exits_are_counted_by_kind() {
    if no_kvm() {
        return;
    }
    let mut code = Code::new();
    for _ in 0..7 {
        code = code.out(0x80, 1); // nobody there
    }
    for _ in 0..5 {
        code = code.bytes(&[0xe5, 0x84]); // in eax, 0x84
    }
    for _ in 0..3 {
        code = code.store(WINDOW, 1); // no memory there
    }
    let vm = Vm::of(&code.power_off());
    assert_eq!(vm.run().cause(), ExitCause::PowerOff);
    let metrics = vm.metrics();
    assert_eq!(metrics["cause"], "power_off");
    let exits = &metrics["exits"];
    assert_eq!(exits["io_out"], 7 + 1);
    assert_eq!(exits["io_in"], 5);
    assert_eq!(exits["mmio_write"], 3);
    assert_eq!(exits["unclaimed"], 7 + 5 + 3);
}

#[test]
fn the_boot_timeline_is_in_order_and_printed_when_asked_for() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off()).arg("--boot-timer");
    let ended = vm.run();
    let labels = [
        "process start",
        "KVM ready",
        "kernel loaded",
        "first vCPU entry",
    ];
    let at = labels.map(|label| ended.stderr.find(label).unwrap());
    assert!(at.is_sorted(), "{}", ended.stderr);
    let timeline = vm.metrics()["timeline_ms"].clone();
    let stages = ["kvm_ready", "kernel_loaded", "first_vcpu_entry"];
    let times = stages.map(|stage| timeline[stage].as_f64().unwrap());
    assert!(times.is_sorted() && times[0] > 0.0, "{timeline}");
    assert!(timeline.get("agent_ready").is_none());
}

/// Reads and writes the first 512 offsets of a device in every size, with values that count up.
fn scribble(device: u32) -> Code {
    let mut code = Code::new().window(0xd000_0000);
    code = code
        .bytes(&[0xbb])
        .bytes(&(WINDOW + 0x1000 * device).to_le_bytes()); // mov ebx, its registers
    let again = code.0.len();
    code = code.bytes(&[
        0x8a, 0x03, // mov al, [rbx]
        0x66, 0x8b, 0x03, // mov ax, [rbx]
        0x8b, 0x03, // mov eax, [rbx]
        0x48, 0x8b, 0x03, // mov rax, [rbx]
        0x88, 0x0b, // mov [rbx], cl
        0x66, 0x89, 0x0b, // mov [rbx], cx
        0x89, 0x0b, // mov [rbx], ecx
        0x48, 0x89, 0x0b, // mov [rbx], rcx
        0xff, 0xc1, // inc ecx
        0xff, 0xc3, // inc ebx
        0xf6, 0xc7, 0x02, // test bh, 2: until offset 0x200
        0x74, 0x00, // jz again
    ]);
    let distance = i8::try_from(again).unwrap() - i8::try_from(code.0.len()).unwrap();
    *code.0.last_mut().unwrap() = distance.to_le_bytes()[0];
    code
}

#[test]
fn wrong_sizes_and_values_at_every_register_do_no_harm() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&[]).every_device();
    for device in 0..EVERY_DEVICE {
        let code = scribble(device);
        let kernel = common::guest::elf(0x10_0000, &code.power_off());
        std::fs::write(vm.path("kernel"), kernel).unwrap();
        let ended = vm.run();
        assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
        assert_eq!(vm.metrics()["exits"]["mmio_read"], 4 * 0x200);
    }
}

#[test]
fn memory_that_is_not_plugged_is_none() {
    if no_kvm() {
        return;
    }
    // The region begins at 4 GiB. A slot has 128 MiB; the device plugs blocks of 2 MiB.
    let (first, second) = (4_u64 << 30, (4_u64 << 30) + (128 << 20));
    let request = |kind: u64, address: u64| [kind, address, 1].map(u64::to_le_bytes).concat();
    let (at, answer) = (0x30_0000, 0x30_0100);
    let ask = |code: Code, device: &mut Driven, bytes: &[u8]| {
        let code = code.data(at, bytes).store(answer, u64::MAX);
        let code = device.request(code, 0, &[(at, 24, false), (answer, 10, true)]);
        device.await_all(code, 0).await_byte(answer, 0)
    };
    let writes_nowhere = |code: Code, address| {
        let code = code
            .window(address)
            .bytes(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]); // mov rax, cr3; mov cr3, rax
        code.store(WINDOW, 0x6c6c_7548).await_byte(WINDOW, 0xff)
    };
    let registers = |code: Code| {
        code.window(0xd000_0000)
            .bytes(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8])
    };
    let mut device = Driven::new(1, 0x20_0000);
    let code = writes_nowhere(Code::new(), first).print("refused\n");
    let code = device.start(registers(code), 1);
    let code = code.await_byte(WINDOW + 0x1000 + 0x100 + 51, 8);
    let code = ask(code, &mut device, &request(0, first));
    // What is plugged is memory, and what is in another slot still is not.
    let code = code
        .window(first)
        .bytes(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]);
    let code = code.store(WINDOW, 0x6c6c_7548).await_byte(WINDOW, b'H');
    let code = registers(writes_nowhere(code, second));
    let code = ask(code, &mut device, &request(1, first));
    let code = writes_nowhere(code, first);
    let vm = Vm::of(&code.power_off()).serial();
    let vm = vm.set("/memory-hotplug", json!({ "total_size_mib": 256 }));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("refused\n");
    let requested_size_mib = 128;
    client
        .patch_memory_hotplug(&MemoryHotplugUpdate { requested_size_mib })
        .unwrap();
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
}

#[test]
fn wrong_sizes_at_every_port_do_no_harm() {
    if no_kvm() {
        return;
    }
    let mut code = Code::new();
    for port in (0x60..0x66)
        .chain(0x3f8..0x401)
        .chain([0x505, 0x600, 0xcf8, 0xcfc])
    {
        code = code.bytes(&[0x66, 0xba]).bytes(&u16::to_le_bytes(port));
        code = code.bytes(&[
            0xb8, 0xf2, 0xf2, 0xf2, 0xf2, // mov eax, 0xf2f2f2f2
            0x66, 0xef, // out dx, ax
            0xef, // out dx, eax
            0xec, // in al, dx
            0x66, 0xed, // in ax, dx
            0xed, // in eax, dx
        ]);
    }
    let vm = Vm::of(&code.power_off()).set("/serial", json!({ "serial_out_path": "/dev/null" }));
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
}
