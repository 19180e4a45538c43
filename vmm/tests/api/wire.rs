//! Requests that come together, cut off, slowly, or are none; and what a start that came in between does with them.

use std::io::Read;
use std::net::Shutdown;

use hull_vm_api::Stage;
use rustix::process::Signal;
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Vm, no_kvm};
use crate::{Raw, counting, interrupt, powers_off, waiting};

#[test]
fn requests_that_come_together_are_answered_in_order() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let (running, client) = vm.serve(Configured::ByApi);
    let source = json!({ "kernel_image_path": vm.path("kernel") }).to_string();
    let start = r#"{"action_type": "InstanceStart"}"#;
    let mut all = Vec::new();
    for (method, path, body) in [
        ("PUT", "/actions", start),
        ("PUT", "/boot-source", &source),
        ("PUT", "/actions", start),
        ("GET", "/", ""),
        ("PUT", "/actions", start),
        ("PATCH", "/vm", r#"{"state": "Paused"}"#),
        ("GET", "/", ""),
    ] {
        all.extend(Raw::request(method, path, body));
    }
    let mut raw = Raw::connect(&vm);
    raw.send(&all);
    let answers: Vec<_> = (0..7).map(|_| raw.answer()).collect();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [400, 204, 204, 200, 400, 204, 200], "{answers:?}");
    assert_eq!(answers[3].body["state"], "Running");
    assert_eq!(answers[6].body["state"], "Paused");
    assert_eq!(client.instance().unwrap().state, Stage::Paused);
    interrupt(running);
}

#[test]
fn what_is_cut_off_changes_nothing_and_keeps_nobody_waiting() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let (running, client) = waiting(&vm);
    let before = client.config().unwrap();
    let whole = Raw::request("PUT", "/entropy", "{}");
    // One that sends its request byte by byte and never all of it, while others come and go.
    let mut slow = Raw::connect(&vm);
    for (sent, byte) in whole.iter().enumerate().take(whole.len() - 1) {
        slow.send(&[*byte]);
        if sent % 16 == 0 {
            let mut cut = Raw::connect(&vm);
            cut.send(&whole[..sent]);
            cut.0.shutdown(Shutdown::Write).unwrap();
            assert!(cut.is_closed());
            assert_eq!(client.config().unwrap(), before);
        }
    }
    slow.send(&whole[whole.len() - 1..]);
    assert_eq!(slow.answer().status, 204);
    assert!(client.config().unwrap().entropy.is_some());
    // The client is gone before its answer.
    let mut gone = Raw::connect(&vm);
    gone.send(&Raw::request("GET", "/vm/config", ""));
    drop(gone);
    client.start().unwrap();
    powers_off(running);
}

#[test]
fn what_is_no_http_is_told_so() {
    let vm = Vm::empty();
    let (running, client) = vm.serve(Configured::ByApi);
    let mut endless = b"GET /".to_vec();
    endless.extend([b'a'; 70_000]);
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"PUT /mmds HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"PUT /mmds HTTP/1.1\r\nContent-Length: -1\r\n\r\n{}",
        b"PUT /mmds HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n{}",
        b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        &endless,
    ] {
        let mut raw = Raw::connect(&vm);
        // It may be refused before all of it is there.
        let _ = std::io::Write::write_all(&mut raw.0, bytes);
        let answer = raw.answer();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        assert_eq!(answer.status / 100, 4, "{shown}: {answer:?}");
        assert!(!answer.message().is_empty(), "{shown}: {answer:?}");
        assert!(raw.is_closed(), "{shown}");
    }
    assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
    interrupt(running);
}

#[test]
fn a_crowd_of_callers_does_not_keep_the_machine_from_its_work() {
    if no_kvm() {
        return;
    }
    // Reads the keyboard until somebody pressed Delete, and powers off.
    let obedient = Code::new().bytes(&[
        0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa, 0xe4, 0x60, 0x3c, 0x71, 0x75, 0xf4,
    ]);
    let vm = Vm::of(&obedient.power_off());
    let (running, _) = vm.serve(Configured::ByFile);
    let mut crowd: Vec<_> = (0..8).map(|_| Raw::connect(&vm)).collect();
    let many: Vec<u8> = (0..100)
        .flat_map(|_| Raw::request("GET", "/vm/config", ""))
        .collect();
    for raw in &mut crowd {
        raw.send(&many);
    }
    running.signal(Signal::TERM);
    powers_off(running);
    for raw in &mut crowd {
        // What was answered was answered whole, and the rest is over.
        let mut rest = Vec::new();
        let _ = raw.0.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 "));
    }
}
