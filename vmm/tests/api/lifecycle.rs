//! Start, pause, keys and the end.

use std::fs;

use hull_vm_api::config::{Logger, MachineUpdate, Metrics};
use hull_vm_api::request::Action;
use hull_vm_api::{ExitCause, Stage};
use rustix::process::Signal;
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Vm, no_kvm};
use crate::{boot, counting, last_line, path, powers_off, refusal, waiting};

#[test]
fn a_machine_is_configured_started_and_ends_its_process() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().print("hello\n").power_off());
    let vm = vm.arg("--id=vm-7");
    let (running, client) = waiting(&vm);
    let info = client.instance().unwrap();
    assert_eq!((info.state, info.id.as_str()), (Stage::NotStarted, "vm-7"));
    let machine = MachineUpdate {
        vcpu_count: Some(2),
        mem_size_mib: Some(64),
        ..MachineUpdate::default()
    };
    client.patch_machine_config(&machine).unwrap();
    assert_eq!(client.machine_config().unwrap().vcpu_count, 2);
    let serial = hull_vm_api::config::Serial {
        serial_out_path: Some(path(&vm, "serial")),
        ..Default::default()
    };
    client.put_serial(&serial).unwrap();
    client.start().unwrap();
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    assert_eq!(fs::read_to_string(vm.path("serial")).unwrap(), "hello\n");
    assert!(!vm.path("api").exists(), "the socket of the API was left");
}

#[test]
fn a_start_that_fails_can_be_tried_again() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let (running, client) = vm.serve(Configured::ByApi);
    assert!(refusal(client.start()).contains("without kernel configuration"));
    let missing = boot(&vm, "missing");
    client.put_boot_source(&missing).unwrap();
    let sentence = refusal(client.start());
    assert!(
        sentence.contains("Start microvm error") && sentence.contains("missing"),
        "{sentence}"
    );
    assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
    let source = boot(&vm, "kernel");
    client.put_boot_source(&source).unwrap();
    client.start().unwrap();
    assert_eq!(running.end().cause(), ExitCause::PowerOff);
}

#[test]
fn what_goes_before_the_start_is_refused_afterwards_and_the_other_way_round() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let (running, client) = waiting(&vm);
    let early = [
        refusal(client.pause()),
        refusal(client.resume()),
        refusal(client.action(Action::FlushMetrics)),
        refusal(client.action(Action::SendCtrlAltDel)),
        refusal(client.balloon_statistics()),
    ];
    for sentence in early {
        assert!(sentence.contains("before starting"), "{sentence}");
    }
    client.start().unwrap();
    assert_eq!(client.instance().unwrap().state, Stage::Running);
    let source = boot(&vm, "kernel");
    let late = [
        refusal(client.start()),
        refusal(client.put_boot_source(&source)),
        refusal(client.put_metrics(&Metrics::new(path(&vm, "metrics")))),
        refusal(client.put_logger(&Logger::default())),
    ];
    for sentence in late {
        assert!(sentence.contains("after starting"), "{sentence}");
    }
    let flush = refusal(client.action(Action::FlushMetrics));
    assert!(flush.contains("--metrics-path"), "{flush}");
    running.signal(Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
}

#[test]
fn a_paused_guest_stands_still_and_a_resumed_one_goes_on() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let metrics = vm.path("metrics");
    let vm = vm
        .arg(&format!("--metrics-path={}", metrics.display()))
        .set("/machine-config/vcpu_count", json!(4));
    let (running, client) = vm.serve(Configured::ByFile);
    let count = || {
        client.action(Action::FlushMetrics).unwrap();
        last_line(&vm)["exits"]["io_out"].as_u64().unwrap()
    };
    let moves = || {
        let before = count();
        while count() == before {}
    };
    moves();
    for _ in 0..20 {
        client.pause().unwrap();
        client.pause().unwrap();
        assert_eq!(client.instance().unwrap().state, Stage::Paused);
        let before = count();
        assert_eq!(count(), before);
        assert_eq!(count(), before);
        client.resume().unwrap();
        client.resume().unwrap();
        assert_eq!(client.instance().unwrap().state, Stage::Running);
        moves();
    }
    client.pause().unwrap();
    running.signal(Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
    assert!(!vm.path("api").exists());
    assert_eq!(last_line(&vm)["cause"], "terminated");
}

#[test]
fn keys_and_the_power_button_reach_the_guest() {
    if no_kvm() {
        return;
    }
    // Reads the keyboard until somebody pressed Delete.
    let obedient = Code::new()
        .bytes(&[
            0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa, 0xe4, 0x60, 0x3c, 0x71, 0x75, 0xf4,
        ])
        .power_off();
    for action in [Action::SendCtrlAltDel, Action::SendPowerButton] {
        let vm = Vm::of(&obedient);
        let (running, client) = vm.serve(Configured::ByFile);
        client.action(action).unwrap();
        assert_eq!(running.end().cause(), ExitCause::PowerOff);
    }
}

#[test]
fn a_non_maskable_interrupt_reaches_a_guest_that_masks_interrupts() {
    if no_kvm() {
        return;
    }
    // Without a handler it is a fault, three times over. The guest runs with interrupts disabled.
    let vm = Vm::of(&Code::new().print("ready\n").spin()).serial();
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.action(Action::SendNmi).unwrap();
    assert_eq!(running.end().cause(), ExitCause::TripleFault);
}

#[test]
fn a_guest_with_kvmclock_is_told_that_it_stood_still() {
    if no_kvm() {
        return;
    }
    // MSR_KVM_SYSTEM_TIME_NEW: where KVM is to keep the time (Linux's `Documentation/virt/kvm/x86/msr.rst`).
    const CLOCK: u32 = 0x20_0000;
    let enable = CLOCK | 1;
    let clock = Code::new()
        .bytes(&[0xb9, 0x01, 0x4d, 0x56, 0x4b]) // mov ecx, 0x4b564d01
        .bytes(&[0xb8])
        .bytes(&enable.to_le_bytes()) // mov eax, enable
        .bytes(&[0x31, 0xd2, 0x0f, 0x30]) // xor edx, edx; wrmsr
        .print("ready\n")
        .bytes(&[0xe6, 0x80]) // again: out 0x80, al
        .bytes(&[0xf6, 0x04, 0x25])
        .bytes(&(CLOCK + 29).to_le_bytes())
        .bytes(&[0x02, 0x74, 0xf4]) // test byte [flags], PVCLOCK_GUEST_STOPPED; jz again
        .print("stood still\n")
        .power_off();
    let vm = Vm::of(&clock).serial();
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    client.resume().unwrap();
    running.await_output("stood still\n");
    powers_off(running);
}

#[test]
fn a_paused_guest_is_asked_to_end_when_it_goes_on() {
    if no_kvm() {
        return;
    }
    // Reads the keyboard until somebody pressed Delete.
    let obedient = Code::new().print("ready\n").bytes(&[
        0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa, 0xe4, 0x60, 0x3c, 0x71, 0x75, 0xf4,
    ]);
    let vm = Vm::of(&obedient.power_off()).serial();
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    running.signal(Signal::TERM);
    running.await_log("paused");
    running.await_log("when it is resumed");
    assert_eq!(client.instance().unwrap().state, Stage::Paused);
    client.resume().unwrap();
    powers_off(running);

    let vm = Vm::of(&counting());
    let (mut running, client) = vm.serve(Configured::ByFile);
    client.pause().unwrap();
    running.signal(Signal::TERM);
    running.await_log("when it is resumed");
    running.signal(Signal::TERM);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
}
