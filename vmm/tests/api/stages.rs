//! What Firecracker allows only before or only after the start is answered so, each with its status.

use hull_vm_api::request::Action;
use serde_json::Value;

use crate::common::guest::Code;
use crate::common::{Vm, no_kvm};
use crate::{Answer, Raw, counting, interrupt, waiting};

const BEFORE: &str = "The requested operation is not supported before starting the microVM.";
const AFTER: &str = "The requested operation is not supported after starting the microVM.";

/// What belongs before the start.
const EARLY: &[(&str, &str, &str)] = &[
    ("PUT", "/boot-source", r#"{"kernel_image_path": "/k"}"#),
    (
        "PUT",
        "/machine-config",
        r#"{"vcpu_count": 1, "mem_size_mib": 64}"#,
    ),
    ("PATCH", "/machine-config", r#"{"vcpu_count": 1}"#),
    ("PUT", "/cpu-config", "{}"),
    ("PUT", "/vsock", r#"{"guest_cid": 3, "uds_path": "/v"}"#),
    ("PUT", "/entropy", "{}"),
    ("PUT", "/serial", "{}"),
    ("PUT", "/console", r#"{"output_path": "/o"}"#),
    (
        "PUT",
        "/balloon",
        r#"{"amount_mib": 1, "deflate_on_oom": true}"#,
    ),
    ("PUT", "/hotplug/memory", r#"{"total_size_mib": 256}"#),
    ("PUT", "/logger", "{}"),
    ("PUT", "/metrics", r#"{"metrics_path": "/m"}"#),
    ("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#),
    (
        "PUT",
        "/snapshot/load",
        r#"{"snapshot_path": "/s", "mem_file_path": "/m"}"#,
    ),
    ("DELETE", "/drives/d", ""),
    ("DELETE", "/pmem/p", ""),
    ("DELETE", "/network-interfaces/n", ""),
    ("DELETE", "/shares/s", ""),
    (
        "PUT",
        "/drives/d",
        r#"{"drive_id": "d", "path_on_host": "/d", "is_root_device": false}"#,
    ),
    ("PUT", "/pmem/p", r#"{"id": "p", "path_on_host": "/p"}"#),
    (
        "PUT",
        "/network-interfaces/n",
        r#"{"iface_id": "n", "host_dev_name": "tap0"}"#,
    ),
    ("PUT", "/shares/s", r#"{"tag": "s", "path": "/s"}"#),
    ("PUT", "/mmds/config", r#"{"network_interfaces": ["n"]}"#),
];

/// What belongs behind it.
const LATE: &[(&str, &str, &str)] = &[
    ("PATCH", "/vm", r#"{"state": "Paused"}"#),
    ("PATCH", "/vm", r#"{"state": "Resumed"}"#),
    ("PUT", "/actions", r#"{"action_type": "FlushMetrics"}"#),
    ("PUT", "/actions", r#"{"action_type": "SendCtrlAltDel"}"#),
    ("PUT", "/actions", r#"{"action_type": "SendNmi"}"#),
    ("PUT", "/actions", r#"{"action_type": "SendPowerButton"}"#),
    ("PATCH", "/drives/d", r#"{"drive_id": "d"}"#),
    ("PATCH", "/pmem/p", r#"{"id": "p"}"#),
    ("PATCH", "/network-interfaces/n", r#"{"iface_id": "n"}"#),
    ("PATCH", "/console", r#"{"rows": 1, "columns": 1}"#),
    ("PATCH", "/balloon", r#"{"amount_mib": 1}"#),
    ("GET", "/balloon/statistics", ""),
    (
        "PATCH",
        "/balloon/statistics",
        r#"{"stats_polling_interval_s": 1}"#,
    ),
    ("PATCH", "/balloon/hinting/start", ""),
    ("GET", "/balloon/hinting/status", ""),
    ("PATCH", "/balloon/hinting/stop", ""),
    ("GET", "/hotplug/memory", ""),
    ("PATCH", "/hotplug/memory", r#"{"requested_size_mib": 128}"#),
    (
        "PUT",
        "/snapshot/create",
        r#"{"snapshot_path": "/missing/s", "mem_file_path": "/missing/m"}"#,
    ),
];

fn assert_refused(answer: &Answer, sentence: &str, of: (&str, &str, &str)) {
    assert_eq!((answer.status, answer.message()), (400, sentence), "{of:?}");
}

#[test]
fn each_request_has_its_time() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let (running, client) = waiting(&vm);
    let mut raw = Raw::connect(&vm);
    for &(method, path, body) in LATE {
        let answer = raw.ask(method, path, body);
        assert_refused(&answer, BEFORE, (method, path, body));
    }
    client.start().unwrap();
    let config = client.config().unwrap();
    for &(method, path, body) in EARLY {
        let answer = raw.ask(method, path, body);
        assert_refused(&answer, AFTER, (method, path, body));
    }
    assert_eq!(client.config().unwrap(), config);
    interrupt(running);
}

#[test]
fn the_same_requests_succeed_in_their_time_or_say_what_else_is_wrong() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let (running, client) = waiting(&vm);
    let mut raw = Raw::connect(&vm);
    for &(method, path, body) in EARLY {
        let starts = body.contains("InstanceStart") || path == "/snapshot/load";
        // What is named does not have to be there before the start.
        if starts || method == "DELETE" || path == "/metrics" || path == "/cpu-config" {
            continue;
        }
        let answer = raw.ask(method, path, body);
        assert_eq!((answer.status, &answer.body), (204, &Value::Null), "{path}");
    }
    // None of it is there.
    let sentence = crate::refusal(client.start());
    assert!(sentence.contains("/k"), "{sentence}");
    interrupt(running);

    let (running, client) = waiting(&vm);
    client.start().unwrap();
    let mut raw = Raw::connect(&vm);
    for &(method, path, body) in LATE {
        // This guest would not survive it.
        if body.contains("SendNmi") {
            continue;
        }
        let answer = raw.ask(method, path, body);
        assert_ne!(answer.message(), BEFORE, "{method} {path}");
        let there = path == "/vm" || body.contains("Send");
        let status = if there { 204 } else { 400 };
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
    }
    interrupt(running);
}

#[test]
fn snapshots_are_refused_with_the_reason() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let create = r#"{"snapshot_path": "/missing/s", "mem_file_path": "/missing/m"}"#;
    let load =
        r#"{"snapshot_path": "/s", "mem_backend": {"backend_type": "File", "backend_path": "/m"}}"#;
    let (running, client) = vm.serve(crate::common::Configured::ByApi);
    let mut raw = Raw::connect(&vm);
    let answer = raw.ask("PUT", "/snapshot/load", load);
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.message(),
        "Load snapshot error: cannot open /s (snapshot/load.snapshot_path): No such file or directory (os error 2)"
    );
    // After that it can still be started.
    client.put_boot_source(&crate::boot(&vm, "kernel")).unwrap();
    let late = raw.ask("PUT", "/snapshot/load", load);
    assert!(
        late.message().contains("not allowed after configuring"),
        "{late:?}"
    );
    client.start().unwrap();
    crate::powers_off(running);

    let vm = Vm::of(&counting());
    let (running, client) = waiting(&vm);
    client.start().unwrap();
    let mut raw = Raw::connect(&vm);
    // Running or not.
    for state in ["Paused", "Resumed"] {
        let answer = raw.ask("PUT", "/snapshot/create", create);
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.message(),
            "Create snapshot error: cannot open /missing/m (snapshot/create.mem_file_path): No such file or directory (os error 2)"
        );
        let stage = format!(r#"{{"state": "{state}"}}"#);
        assert_eq!(raw.ask("PATCH", "/vm", &stage).status, 204);
    }
    client.action(Action::SendCtrlAltDel).unwrap();
    interrupt(running);
}
