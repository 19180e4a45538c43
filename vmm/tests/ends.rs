//! Each way in which a machine ends has an exit status and a sentence of its own, and leaves nothing behind.

mod common;

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use common::guest::{Code, WINDOW};
use common::{Vm, no_kvm};
use hull_vm_api::ExitCause;
use rustix::process::Signal;
use serde_json::json;

#[test]
fn the_guest_powers_off_by_either_port() {
    if no_kvm() {
        return;
    }
    for (port, value) in [(0x505, 4), (0x600, 0x34)] {
        let ended = Vm::of(&Code::new().out(port, value).spin()).run();
        assert_eq!(ended.cause(), ExitCause::PowerOff);
        assert!(
            ended.sentence().ends_with("the guest powered off"),
            "{ended:?}"
        );
    }
}

#[test]
fn the_guest_reboots_panics_and_crashes_distinguishably() {
    if no_kvm() {
        return;
    }
    let reboot = Vm::of(&Code::new().out(0x64, 0xfe).spin()).run();
    assert_eq!(reboot.cause(), ExitCause::Reboot);
    assert_eq!(reboot.sentence(), "hull-vmm: the guest rebooted");

    let panic = Vm::of(&Code::new().out(0x505, 1).spin()).run();
    assert_eq!(panic.cause(), ExitCause::Panic);
    assert_eq!(panic.sentence(), "hull-vmm: the guest's kernel panicked");

    // Without an interrupt table an undefined instruction faults three times over.
    let fault = Vm::of(&[0x0f, 0x0b]).run();
    assert_eq!(fault.cause(), ExitCause::TripleFault);
    assert_eq!(
        fault.sentence(),
        "hull-vmm: the guest crashed with a triple fault: vCPU 0"
    );
}

#[test]
fn what_kvm_cannot_run_is_told_with_its_place() {
    if no_kvm() {
        return;
    }
    // Execution where no memory is: jmp WINDOW.
    let code = Code::new()
        .bytes(&[0xb8])
        .bytes(&WINDOW.to_le_bytes())
        .bytes(&[0xff, 0xe0]);
    let ended = Vm::of(&code.0).run();
    assert_eq!(ended.cause(), ExitCause::KvmFailure);
    assert!(ended.sentence().contains("rip 0x20000000"), "{ended:?}");
}

/// Prints a line, then reads the keyboard until somebody pressed Delete, and powers off.
fn obedient() -> Vec<u8> {
    Code::new()
        .print("ready\n")
        .bytes(&[
            0xe4, 0x64, // again: in al, 0x64
            0xa8, 0x01, // test al, 1
            0x74, 0xfa, // jz again
            0xe4, 0x60, // in al, 0x60
            0x3c, 0x71, // cmp al, 0x71
            0x75, 0xf4, // jne again
        ])
        .power_off()
}

#[test]
fn sigterm_asks_the_guest_first() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&obedient()).serial();
    let mut running = vm.start();
    running.await_output("ready\n");
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    assert!(ended.stderr.contains("asking the guest to power off"));
    vm.assert_clean();
}

#[test]
fn a_second_sigterm_ends_a_guest_that_does_not_listen() {
    if no_kvm() {
        return;
    }
    for vcpus in [1, 4] {
        let vm = Vm::of(&Code::new().print("ready\n").spin())
            .serial()
            .set("/machine-config/vcpu_count", json!(vcpus));
        let mut running = vm.start();
        running.await_output("ready\n");
        running.signal(Signal::TERM);
        running.await_log("asking the guest");
        running.signal(Signal::TERM);
        assert_eq!(running.end().cause(), ExitCause::Terminated);
        vm.assert_clean();
    }
}

#[test]
fn sigint_and_sighup_end_at_once() {
    if no_kvm() {
        return;
    }
    for signal in [Signal::INT, Signal::HUP, Signal::QUIT] {
        let vm = Vm::of(&Code::new().print("ready\n").spin()).serial();
        let mut running = vm.start();
        running.await_output("ready\n");
        running.signal(signal);
        let ended = running.end();
        assert_eq!(ended.cause(), ExitCause::Terminated);
        assert_eq!(
            ended.sentence(),
            "hull-vmm: ended by a signal before the guest was"
        );
        vm.assert_clean();
    }
}

#[test]
fn the_end_of_the_parent_is_the_end_of_the_machine() {
    if no_kvm() {
        return;
    }
    let (theirs, ours) = io::pipe().unwrap();
    // The standard library's pipes close on exec; the copy that is handed over must not.
    let theirs = inheritable(theirs.into());
    let vm = Vm::of(&Code::new().print("ready\n").spin())
        .serial()
        .arg(&format!("--lifeline={}", theirs.as_raw_fd()));
    let mut running = vm.start();
    drop(theirs);
    running.await_output("ready\n");
    drop(ours);
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::ParentGone);
    vm.assert_clean();
}

#[test]
fn a_configuration_comes_through_a_pipe_too() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let json = vm.config.to_string();
    let (theirs, mut ours) = io::pipe().unwrap();
    let theirs = inheritable(theirs.into());
    let pipe = format!("--config-file=/dev/fd/{}", theirs.as_raw_fd());
    let writer = std::thread::spawn(move || {
        // In pieces: who reads the first one waits for the others.
        for piece in json.as_bytes().chunks(100) {
            ours.write_all(piece).unwrap();
            std::thread::yield_now();
        }
    });
    let ended = vm.command_with(&["--no-api", &pipe]);
    writer.join().unwrap();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    // Nobody has the other end, and nothing came through it.
    drop(common::fifo(&vm, "empty"));
    let pipe = format!("--config-file={}", vm.path("empty").display());
    let ended = vm.command_with(&["--no-api", &pipe]);
    assert_eq!(ended.cause(), ExitCause::BadConfig, "{ended:?}");
}

fn inheritable(fd: OwnedFd) -> OwnedFd {
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
    fd
}

#[test]
fn a_guest_that_floods_a_pipe_that_nobody_reads_can_be_ended() {
    if no_kvm() {
        return;
    }
    // out dx, al; jmp back
    let flood = Code::new()
        .print("ready\n")
        .bytes(&[0xb0, b'x', 0xee, 0xeb, 0xfd]);
    let vm = Vm::of(&flood.0).serial();
    let mut running = vm.start();
    running.await_output("ready\n");
    running.signal(Signal::INT);
    let status = running.wait();
    assert_eq!(status.code(), Some(ExitCause::Terminated.code().into()));
    vm.assert_clean();
}

#[test]
fn the_socket_of_a_killed_machine_is_replaced_and_that_of_a_live_one_is_not() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().print("ready\n").spin()).serial();
    let mut killed = vm.start();
    killed.await_output("ready\n");
    killed.signal(Signal::KILL);
    killed.wait();
    assert!(vm.path("vsock").exists());

    let mut live = vm.start();
    live.await_output("ready\n");
    let second = vm.start().end();
    let refusal = second.refusal(ExitCause::NoResource);
    assert!(refusal.contains("another process listens at"), "{refusal}");
    assert!(vm.path("vsock").exists());
    live.signal(Signal::INT);
    live.wait();
    vm.assert_clean();
}

#[test]
fn a_socket_that_was_handed_over_stays_its_makers() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let listener = UnixListener::bind(vm.path("vsock")).unwrap();
    let listener = inheritable(listener.into());
    let vm = vm
        .set("/vsock/uds_path", json!("fd:vsock"))
        .arg(&format!("--fd=vsock={}", listener.as_raw_fd()));
    assert_eq!(vm.start().end().cause(), ExitCause::PowerOff);
    assert!(vm.path("vsock").exists());
}
