//! The serial port of a real process: readers that do not read, rates, and what somebody types.

mod common;

use std::fs;
use std::io::Write;

use common::guest::Code;
use common::{Configured, Vm, fifo, no_kvm};
use hull_vm_api::request::Action;
use hull_vm_api::{ExitCause, Stage};
use rustix::process::Signal;
use serde_json::{Value, json};

/// `in al, dx` with the line status in AL; again until somebody typed.
const AWAIT_INPUT: &[u8] = &[
    0x66, 0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, 0xa8, 0x01, // in al, dx; test al, 1
    0x74, 0xfb, // jz to the in
];

/// Sends back what it receives, until that is a `q`.
fn echo() -> Vec<u8> {
    Code::new()
        .print("ready\n")
        .bytes(AWAIT_INPUT)
        .bytes(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .bytes(&[0xec, 0xee]) // in al, dx; out dx, al
        .bytes(&[0x3c, b'q', 0x75, 0xed]) // cmp al, 'q'; jne to the beginning
        .power_off()
}

/// What was counted of the serial port from the start on; each line of the metrics has what came since the one before.
fn counted(vm: &Vm, what: &str) -> u64 {
    let lines = fs::read_to_string(vm.path("metrics")).unwrap();
    let lines = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["uart"][what].as_u64().unwrap()
    });
    lines.sum()
}

#[test]
fn a_reader_that_does_not_read_holds_up_neither_the_guest_nor_a_pause() {
    if no_kvm() {
        return;
    }
    // out dx, al; jmp back: more than any pipe holds.
    let flood = Code::new()
        .print("ready\n")
        .bytes(&[0xb0, b'x', 0xee, 0xeb, 0xfd]);
    let vm = Vm::of(&flood.0).serial();
    let metrics = vm.path("metrics");
    let vm = vm.arg(&format!("--metrics-path={}", metrics.display()));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let dropped = || {
        client.action(Action::FlushMetrics).unwrap();
        counted(&vm, "dropped_bytes")
    };
    while dropped() == 0 {}
    for _ in 0..10 {
        let before = dropped();
        while dropped() == before {}
        client.pause().unwrap();
        let before = dropped();
        assert_eq!(dropped(), before);
        client.resume().unwrap();
    }
    assert_eq!(client.instance().unwrap().state, Stage::Running);
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::Terminated);
    assert!(ended.stderr.contains("is not taken"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("bytes were dropped"),
        "{}",
        ended.stderr
    );
    // What the reader finds in the end is what was counted as written; the first line was read before.
    let written = ended.stdout.len() as u64 + 6;
    assert_eq!(counted(&vm, "written_bytes"), written);
    assert_eq!(counted(&vm, "rate_limiter_dropped_bytes"), 0);
}

#[test]
fn the_serial_port_keeps_its_rate() {
    if no_kvm() {
        return;
    }
    let text = "0123456789abcde\n".repeat(20);
    let limit = json!({ "size": 100, "one_time_burst": 60, "refill_time": 1_000_000_000 });
    let vm = Vm::of(&Code::new().print(&text).power_off())
        .serial()
        .set("/serial/rate_limiter", limit);
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    assert_eq!(ended.stdout, text[..160]);
    assert_eq!(counted(&vm, "written_bytes"), 160);
    assert_eq!(counted(&vm, "rate_limiter_dropped_bytes"), 160);
    assert_eq!(counted(&vm, "dropped_bytes"), 0);
}

#[test]
fn what_somebody_types_is_read_and_a_paste_is_not_lost() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&echo()).serial();
    let mut keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm.set("/serial/serial_in_path", json!(path));
    let mut running = vm.start();
    running.await_output("ready\n");
    keys.write_all(b"typed\n").unwrap();
    running.await_output("typed\n");
    let paste: String = (0..200).map(|line| format!("line {line}\n")).collect();
    keys.write_all(paste.as_bytes()).unwrap();
    running.await_output(&paste);
    keys.write_all(b"q").unwrap();
    assert_eq!(running.end().cause(), ExitCause::PowerOff);
}

#[test]
fn input_comes_from_files_and_descriptors_and_ends_quietly() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&echo()).serial();
    let text = "from a file\n".repeat(100);
    fs::write(vm.path("text"), format!("{text}q")).unwrap();
    let path = vm.path("text");
    let vm = vm.set("/serial/serial_in_path", json!(path));
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    assert_eq!(ended.stdout, format!("ready\n{text}q"));
    // A pipe that has a name.
    let mut keys = fifo(&vm, "keys");
    let vm = vm.set("/serial/serial_in_path", json!(path.with_file_name("keys")));
    keys.write_all(b"typed\nq").unwrap();
    let ended = vm.run();
    assert_eq!(ended.stdout, "ready\ntyped\nq", "{ended:?}");
    // Standard input, which is at its end.
    let vm = vm
        .set("/serial/serial_in_path", json!("fd:keys"))
        .arg("--fd=keys=0");
    let mut running = vm.start();
    running.await_output("ready\n");
    running.signal(Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
    let vm = vm.set("/serial/serial_in_path", json!("/no/such/keys"));
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::NoResource);
    assert!(
        sentence.contains("/no/such/keys") && sentence.contains("serial_in_path"),
        "{sentence}"
    );
}

#[test]
fn the_last_line_reaches_a_file_although_it_has_no_end() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().print("one\ntwo").power_off());
    let path = vm.path("serial");
    let vm = vm.set("/serial", json!({ "serial_out_path": path }));
    assert_eq!(vm.run().cause(), ExitCause::PowerOff);
    assert_eq!(fs::read_to_string(vm.path("serial")).unwrap(), "one\ntwo");
}
