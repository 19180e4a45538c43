//! The API of a real process, by its typed client over a real socket, with guests of a few instructions.

mod common;

use std::fs;
use std::os::unix::net::UnixListener;

use common::guest::Code;
use common::{Configured, Running, Vm, no_kvm};
use hull_vm_api::client::ClientError;
use hull_vm_api::config::{BootSource, HostPath, Logger, MachineUpdate, Metrics};
use hull_vm_api::request::Action;
use hull_vm_api::{Client, ExitCause, Stage};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Comes out to the process again and again: `out 0x80, al; jmp` to itself.
fn counting() -> Vec<u8> {
    Code::new().bytes(&[0xe6, 0x80, 0xeb, 0xfc]).0
}

fn path(vm: &Vm, name: &str) -> HostPath {
    HostPath::try_from(vm.path(name).as_path()).unwrap()
}

fn boot(vm: &Vm, kernel: &str) -> BootSource {
    BootSource {
        kernel_image_path: path(vm, kernel),
        initrd_path: None,
        boot_args: None,
    }
}

/// A process that waits for its configuration, with the boot source said already.
fn waiting(vm: &Vm) -> (Running, Client) {
    let (running, client) = vm.serve(Configured::ByApi);
    let source = boot(vm, "kernel");
    client.put_boot_source(&source).unwrap();
    (running, client)
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().to_string()
}

/// The last line of the metrics.
fn figures(vm: &Vm) -> Value {
    let lines = fs::read_to_string(vm.path("metrics")).unwrap();
    serde_json::from_str(lines.lines().last().unwrap()).unwrap()
}

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
        figures(&vm)["exits"]["io_out"].as_u64().unwrap()
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
    assert_eq!(figures(&vm)["cause"], "terminated");
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
fn a_pause_that_waits_for_a_reader_is_refused_and_the_guest_runs_on() {
    if no_kvm() {
        return;
    }
    // out dx, al; jmp back: it fills the pipe, which nobody reads.
    let flood = Code::new()
        .print("ready\n")
        .bytes(&[0xb0, b'x', 0xee, 0xeb, 0xfd]);
    let vm = Vm::of(&flood.0).serial();
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    // The pipe is full sooner or later.
    let sentence = loop {
        match client.pause() {
            Ok(()) => client.resume().unwrap(),
            Err(error) => break error.to_string(),
        }
    };
    assert!(sentence.contains("serial port"), "{sentence}");
    assert_eq!(client.instance().unwrap().state, Stage::Running);
    running.signal(Signal::INT);
    running.wait();
}

#[test]
fn sockets_of_the_dead_are_replaced_and_those_of_the_living_are_not() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    drop(UnixListener::bind(vm.path("api")).unwrap());
    let (running, client) = vm.serve(Configured::ByApi);
    assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
    let second = vm.command_with(&["--api-sock", &vm.path("api").to_string_lossy()]);
    let refusal = second.refusal(ExitCause::NoResource);
    assert!(
        refusal.contains("another process listens at") && refusal.contains("--api-sock"),
        "{refusal}"
    );
    assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::Terminated);
    assert!(ended.sentence().contains("not been started"), "{ended:?}");
    assert!(!vm.path("api").exists());
}

#[test]
fn the_log_and_the_figures_go_where_the_api_says() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let (running, client) = waiting(&vm);
    let logger = Logger {
        log_path: Some(path(&vm, "log")),
        show_level: true,
        ..Logger::default()
    };
    client.put_logger(&logger).unwrap();
    let nowhere = Logger {
        log_path: Some(path(&vm, "no/such/directory")),
        ..Logger::default()
    };
    let sentence = refusal(client.put_logger(&nowhere));
    assert!(sentence.contains("no/such/directory"), "{sentence}");
    assert_eq!(client.config().unwrap().logger, Some(logger));
    let metrics = Metrics {
        emit_id: true,
        properties: Some([("a".to_owned(), "b".to_owned())].into()),
        ..Metrics::new(path(&vm, "metrics"))
    };
    client.put_metrics(&metrics).unwrap();
    client.start().unwrap();
    client.action(Action::FlushMetrics).unwrap();
    let line = figures(&vm);
    assert_eq!(
        (&line["id"], &line["properties"]["a"]),
        (&json!("hull"), &json!("b"))
    );
    assert!(
        line["utc_timestamp_ms"].is_u64() && line["cause"].is_null(),
        "{line}"
    );
    client.pause().unwrap();
    let log = fs::read_to_string(vm.path("log")).unwrap();
    assert!(log.contains("[hull INFO] paused"), "{log}");
    running.signal(Signal::INT);
    running.wait();
}

#[test]
fn metadata_is_there_from_a_file_and_changes_while_the_guest_runs() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    fs::write(vm.path("metadata"), r#"{"a": {"b": "c"}}"#).unwrap();
    let metadata = vm.path("metadata");
    let vm = vm
        .arg(&format!("--metadata={}", metadata.display()))
        .arg("--mmds-size-limit=40");
    for configured in [Configured::ByFile, Configured::ByApi] {
        let (running, client) = vm.serve(configured);
        assert_eq!(client.mmds().unwrap(), json!({"a": {"b": "c"}}));
        client.patch_mmds(&json!({"a": null, "d": 1})).unwrap();
        assert_eq!(client.mmds().unwrap(), json!({"d": 1}));
        let sentence = refusal(client.put_mmds(&json!({"x": "y".repeat(40)})));
        assert!(sentence.contains("the limit is 40"), "{sentence}");
        running.signal(Signal::INT);
        running.wait();
    }
    fs::write(vm.path("metadata"), "[1]").unwrap();
    let ended = vm.start().end();
    assert!(
        ended
            .refusal(ExitCause::BadConfig)
            .contains("--metadata is no JSON object")
    );
}

#[test]
fn a_body_may_be_as_long_as_the_command_line_says() {
    let vm = Vm::empty().arg("--http-api-max-payload-size=100");
    let (running, client) = vm.serve(Configured::ByApi);
    let sentence = refusal(client.put_mmds(&json!({"x": "y".repeat(100)})));
    assert!(sentence.contains("100"), "{sentence}");
    assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
    running.signal(Signal::INT);
    running.wait();
}
